//! AVX2 with FMA and F16C: every x86 CPU since Haswell (2013) and Zen (2017).
//!
//! Functions that use vectors carry `#[target_feature]`, so the compiler lets only each other call them without `unsafe`;
//! the one way in is the impl of `Isa` below, whose token proves that the CPU has the features.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

mod activation;
mod attention;
mod dequantize;
mod lanes;
mod linear;
mod linear_q8;
mod norm;
mod quads;
mod rope;
mod rows16;
mod six_by_two;
mod small;
mod sums;
mod three_by_four;

use crate::cpu::Isa;
use crate::cpu::cached::{Heads, RopeKv};
use crate::cpu::cut::Sums;
use crate::cpu::q8::GroupsMut;
use crate::cpu::scalar::Scalar;
use crate::cpu::views::{Epilogue, Q8Rows, Rows};
use crate::cpu::x86::{in_streams, prefetch_first, prefetch_streams};
use crate::pack::{Block, Blocks};

pub use norm::{load_group, put};

#[derive(Clone, Copy)]
pub struct Avx2(());

/// Does the same to both vectors of eight rows.
macro_rules! both {
    ($h:ident => $value:expr) => {{
        // SAFETY: a value of `Avx2` proves that the CPU has the features; loads are within their arrays.
        unsafe {
            [
                {
                    let $h = 0;
                    $value
                },
                {
                    let $h = 1;
                    $value
                },
            ]
        }
    }};
}
use both;

/// Each method calls the function of its name.
macro_rules! calls {
    ($($module:ident::$name:ident($($arg:ident: $type:ty),*);)*) => {
        $(fn $name(self, $($arg: $type),*) {
            // SAFETY: a value of `Avx2` proves that the CPU has the features.
            unsafe { $module::$name($($arg),*) }
        })*
    };
}

impl Isa for Avx2 {
    type Base = Scalar;
    const LINEAR_TOKENS: usize = sums::TOKENS;
    const LINEAR_Q8_TOKENS: usize = sums::TOKENS;

    unsafe fn assume() -> Avx2 {
        Avx2(())
    }

    fn base(self) -> Scalar {
        Scalar
    }

    fn prefetch_first(self, w: Blocks, rows: usize) {
        match rows {
            1 if in_streams(&w) => prefetch_streams(w),
            _ => prefetch_first(&w),
        }
    }

    fn linear(self, w: Block, x: Rows, y: Epilogue) {
        linear::linear(self, w, x, y);
    }

    fn linear_blocks(self, w: Blocks, x: Rows, y: impl Fn(usize) -> Epilogue) {
        linear::linear_blocks(self, w, x, &y);
    }

    fn linear_q8(self, w: Block, x: Q8Rows, y: Epilogue) {
        linear_q8::linear_q8(self, w, x, y);
    }

    fn linear_q8_blocks(self, w: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
        linear_q8::linear_q8_blocks(self, w, x, &y);
    }

    fn linear_q8_one(self, w: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
        linear_q8::one_token(self, w, x, y);
    }

    calls! {
        norm::rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]);
        norm::rms_norm_q8(x: &[f32], w: &[f32], eps: f32, y: GroupsMut);
        norm::quantize_q8(x: &[f32], y: GroupsMut);
        activation::swiglu(gate: &[f32], up: &[f32], y: &mut [f32]);
        activation::swiglu_q8(gate: &[f32], up: &[f32], y: GroupsMut);
        rope::rope_kv(token: RopeKv);
    }

    fn attention(self, tokens: &mut [Heads]) {
        // SAFETY: a value of `Avx2` proves that the CPU has the features.
        unsafe { attention::attention(self, tokens) }
    }

    fn join(self, heads: Heads, sums: Sums) {
        // SAFETY: as above.
        unsafe { attention::join(self, heads, sums) }
    }
}
