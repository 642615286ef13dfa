//! The reference: what each kernel computes, in the plainest way. Sums are f32, in the order of the inputs.

pub mod activation;
pub mod attention;
pub mod elementwise;
pub mod linear;
pub mod norm;
pub mod rope;

use super::Isa;
use super::cached::{Heads, RopeKv};
use super::cut::Sums;
use super::q8::GroupsMut;
use super::views::{Epilogue, Q8Rows, Rows};
use crate::pack::{Block, Blocks};

#[derive(Clone, Copy)]
pub struct Scalar;

impl Isa for Scalar {
    type Base = Scalar;
    const LINEAR_TOKENS: usize = 8;
    const LINEAR_Q8_TOKENS: usize = 8;

    unsafe fn assume() -> Scalar {
        Scalar
    }

    fn base(self) -> Scalar {
        self
    }

    fn prefetch_first(self, _: Blocks, _: usize) {}

    fn rms_norm(self, x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        norm::rms_norm(x, w, eps, y);
    }

    fn rms_norm_q8(self, x: &[f32], w: &[f32], eps: f32, y: GroupsMut) {
        norm::rms_norm_q8(x, w, eps, y);
    }

    fn quantize_q8(self, x: &[f32], y: GroupsMut) {
        norm::quantize_q8(x, y);
    }

    fn linear(self, w: Block, x: Rows, y: Epilogue) {
        linear::linear(w, x, y);
    }

    fn linear_q8(self, w: Block, x: Q8Rows, y: Epilogue) {
        linear::linear_q8(w, x, y);
    }

    fn swiglu(self, gate: &[f32], up: &[f32], y: &mut [f32]) {
        activation::swiglu(gate, up, y);
    }

    fn swiglu_q8(self, gate: &[f32], up: &[f32], y: GroupsMut) {
        activation::swiglu_q8(gate, up, y);
    }

    fn rope_kv(self, token: RopeKv) {
        rope::rope_kv(token);
    }

    fn attention(self, tokens: &mut [Heads]) {
        attention::attention(tokens);
    }

    fn join(self, heads: Heads, sums: Sums) {
        attention::join(heads, sums);
    }
}
