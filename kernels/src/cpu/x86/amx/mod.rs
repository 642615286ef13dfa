//! AMX, tiles of bytes and of bf16: Sapphire Rapids (2023) and its successors. What is not here is AVX-512's.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

mod detect;
mod linear_bf16;
mod linear_q8;
mod tiles;

pub use detect::usable;
pub use tiles::{peak_of_bytes, peak_of_pairs};

use crate::cpu::Isa;
use crate::cpu::views::{Epilogue, Q8Rows, Rows};
use crate::layout::Kind;
use crate::pack::Blocks;

use super::avx512::Avx512;

#[derive(Clone, Copy)]
pub struct Amx(Avx512);

impl Isa for Amx {
    type Base = Avx512;
    const LINEAR_Q8_TOKENS: usize = linear_q8::TOKENS;

    unsafe fn assume() -> Amx {
        // SAFETY: the caller's promise; a CPU with AMX has AVX-512.
        Amx(unsafe { Avx512::assume() })
    }

    fn base(self) -> Avx512 {
        self.0
    }

    fn linear_blocks(self, w: Blocks, x: Rows, y: impl Fn(usize) -> Epilogue) {
        match w.kind() {
            // SAFETY: a value of `Amx` proves that the CPU has the features.
            Kind::Bf16 => unsafe { linear_bf16::linear(self, w, x, &y) },
            _ => self.0.linear_blocks(w, x, y),
        }
    }

    fn linear_q8_blocks(self, w: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
        linear_q8::linear_q8(self, w, x, &y);
    }
}
