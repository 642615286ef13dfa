//! AVX-512 (F, BW, VL) with VNNI: Zen 4, Ice Lake and their successors. What is not here is AVX2's.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

mod activation;
mod attention;
mod linear;
mod rows16;

use crate::cpu::Isa;
use crate::cpu::cached::Heads;
use crate::cpu::cut::Sums;
use crate::cpu::q8::GroupsMut;
use crate::cpu::views::{Epilogue, Q8Rows, Rows};
use crate::pack::{Block, Blocks};

use super::avx2::Avx2;
use super::vnni::{self, Dot};

pub use linear::widened;

#[derive(Clone, Copy)]
pub struct Avx512(Avx2);

impl Isa for Avx512 {
    type Base = Avx2;
    const LINEAR_Q8_TOKENS: usize = <Self as Dot>::TOKENS;

    unsafe fn assume() -> Avx512 {
        // SAFETY: the caller's promise; a CPU with AVX-512 has AVX2.
        Avx512(unsafe { Avx2::assume() })
    }

    fn base(self) -> Avx2 {
        self.0
    }

    fn prefetch_first(self, w: Blocks, _: usize) {
        super::prefetch_first(&w);
    }

    fn linear(self, w: Block, x: Rows, y: Epilogue) {
        if w.kind.is_quantized() {
            return self.0.linear(w, x, y);
        }
        // SAFETY: a value of `Avx512` proves that the CPU has the features.
        unsafe { linear::linear(w, x, y) }
    }

    fn linear_blocks(self, w: Blocks, x: Rows, y: impl Fn(usize) -> Epilogue) {
        if w.kind().is_quantized() {
            return w.enumerate().for_each(|(i, w)| self.0.linear(w, x, y(i)));
        }
        // SAFETY: as above.
        unsafe { linear::linear_blocks(w, x, &y) }
    }

    fn linear_q8(self, w: Block, x: Q8Rows, y: Epilogue) {
        vnni::linear_q8(self, w, x, y);
    }

    fn linear_q8_blocks(self, w: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
        rows16::linear_q8_blocks(self, w, x, y);
    }

    fn swiglu(self, gate: &[f32], up: &[f32], y: &mut [f32]) {
        // SAFETY: as above.
        unsafe { activation::swiglu(gate, up, y) }
    }

    fn swiglu_q8(self, gate: &[f32], up: &[f32], y: GroupsMut) {
        // SAFETY: as above.
        unsafe { activation::swiglu_q8(gate, up, y) }
    }

    fn attention(self, tokens: &mut [Heads]) {
        // SAFETY: a value of `Avx512` proves that the CPU has the features.
        unsafe { attention::attention(self, tokens) }
    }

    fn join(self, heads: Heads, sums: Sums) {
        // SAFETY: as above.
        unsafe { attention::join(self, heads, sums) }
    }
}
