//! CPU kernels. `drive` turns the pointers of the ABI into slices, once for all instruction sets; `Isa` is what an
//! instruction set implements: safe functions over one task's slices. What it does not, it has from the one before it.

#![allow(unsafe_code, reason = "kernels read and write through the ABI's pointers and use vector intrinsics")]

#[cfg(target_arch = "aarch64")]
pub mod arm;
pub mod cached;
pub mod cut;
pub mod drive;
pub mod flash;
pub mod q8;
pub mod scalar;
pub mod views;
#[cfg(target_arch = "x86_64")]
pub mod x86;

use cached::{Heads, RopeKv};
use cut::Sums;
use q8::GroupsMut;
use views::{Epilogue, Q8Rows, Rows};

use crate::pack::{Block, Blocks};

/// An instruction set. A value of the type proves that the CPU has it.
pub trait Isa: Copy {
    /// The instruction set that this one adds to.
    type Base: Isa;

    /// Tokens that a call of `linear` or `linear_q8` is best given at a time: what one decoding of the weights serves.
    const LINEAR_TOKENS: usize = Self::Base::LINEAR_TOKENS;
    const LINEAR_Q8_TOKENS: usize = Self::Base::LINEAR_Q8_TOKENS;

    /// # Safety
    /// The CPU must have the instruction set.
    unsafe fn assume() -> Self;

    fn base(self) -> Self::Base;

    /// Asks memory for the beginning of some blocks, which so many rows of inputs are to be multiplied by.
    fn prefetch_first(self, w: Blocks, rows: usize) {
        self.base().prefetch_first(w, rows);
    }

    fn rms_norm(self, x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        self.base().rms_norm(x, w, eps, y);
    }

    fn rms_norm_q8(self, x: &[f32], w: &[f32], eps: f32, y: GroupsMut) {
        self.base().rms_norm_q8(x, w, eps, y);
    }

    fn quantize_q8(self, x: &[f32], y: GroupsMut) {
        self.base().quantize_q8(x, y);
    }

    /// 16 output rows of some tokens.
    fn linear(self, w: Block, x: Rows, y: Epilogue) {
        self.base().linear(w, x, y);
    }

    /// As `linear` for some blocks at once: block `i` has the outputs `y(i)`.
    fn linear_blocks(self, w: Blocks, x: Rows, y: impl Fn(usize) -> Epilogue) {
        w.enumerate().for_each(|(i, w)| self.linear(w, x, y(i)));
    }

    fn linear_q8(self, w: Block, x: Q8Rows, y: Epilogue) {
        self.base().linear_q8(w, x, y);
    }

    /// As `linear_q8` for some blocks at once: block `i` has the outputs `y(i)`.
    fn linear_q8_blocks(self, w: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
        w.enumerate().for_each(|(i, w)| self.linear_q8(w, x, y(i)));
    }

    /// As `linear_q8_blocks` for one token.
    fn linear_q8_one(self, w: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
        self.linear_q8_blocks(w, x, y);
    }

    fn swiglu(self, gate: &[f32], up: &[f32], y: &mut [f32]) {
        self.base().swiglu(gate, up, y);
    }

    fn swiglu_q8(self, gate: &[f32], up: &[f32], y: GroupsMut) {
        self.base().swiglu_q8(gate, up, y);
    }

    fn rope_kv(self, token: RopeKv) {
        self.base().rope_kv(token);
    }

    /// Up to `ATTENTION_TOKENS` tokens of one KV head.
    fn attention(self, tokens: &mut [Heads]) {
        self.base().attention(tokens);
    }

    /// The result of what `attention` has left of all segments.
    fn join(self, heads: Heads, sums: Sums) {
        self.base().join(heads, sums);
    }
}
