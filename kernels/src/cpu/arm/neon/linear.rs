//! Packed weights of any kind times f32 activations.
//!
//! Even and odd inputs are summed apart: two chains × 16 rows hide FMA's latency. A token's result does not depend on its
//! company.

use core::arch::aarch64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::layout::Kind;
use crate::pack::Block;

use super::lanes::{load_bytes, load_halves, store, widen};
use super::linear_quantized;

pub const F32: u32 = Kind::F32 as u32;
const F16: u32 = Kind::F16 as u32;
const BF16: u32 = Kind::Bf16 as u32;

/// Tokens of one call of `accumulate`: as many as leave registers for the weights.
pub const SOME: usize = 2;

/// A value of each of 16 rows.
pub type Row16 = [float32x4_t; BLOCK_ROWS / 4];
/// Sums of 16 rows over even and over odd inputs.
pub type Sums = [Row16; 2];
type Inputs<'a> = &'a [f32; ACT_GROUP];

#[inline]
#[target_feature(enable = "neon")]
pub fn no_sums() -> Sums {
    [[vdupq_n_f32(0.0); BLOCK_ROWS / 4]; 2]
}

#[target_feature(enable = "neon")]
pub fn linear(w: Block, x: Rows, y: Epilogue) {
    match w.kind {
        Kind::F32 => all_tokens::<F32>(&w, x, &y),
        Kind::F16 => all_tokens::<F16>(&w, x, &y),
        Kind::Bf16 => all_tokens::<BF16>(&w, x, &y),
        _ => linear_quantized::linear(w, x, y),
    }
}

#[target_feature(enable = "neon")]
fn all_tokens<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue) {
    let mut t = 0;
    while t < x.count() {
        t += match x.count() - t {
            1 => some_tokens::<KIND, 1>(w, x, y, t),
            _ => some_tokens::<KIND, SOME>(w, x, y, t),
        };
    }
}

/// Bytes of 16 rows × 32 inputs.
const fn group_bytes<const KIND: u32>() -> usize {
    BLOCK_ROWS * ACT_GROUP * if KIND == F32 { 4 } else { 2 }
}

/// Tokens `t..t + T`; returns `T`.
#[target_feature(enable = "neon")]
fn some_tokens<const KIND: u32, const T: usize>(w: &Block, x: Rows, y: &Epilogue, t: usize) -> usize {
    let mut sums = [no_sums(); T];
    for (g, w) in w.bytes.chunks_exact(group_bytes::<KIND>()).enumerate() {
        let mut pads = [[0.0; ACT_GROUP]; T];
        accumulate::<KIND, T>(w, inputs(x, t, g, &mut pads), &mut sums);
    }
    for (i, sums) in sums.iter().enumerate() {
        finish(sums, y, t + i);
    }
    T
}

/// Group `g` of tokens `t..t + T`, padded with zeros beyond the last input.
#[inline]
pub fn inputs<'a, const T: usize>(
    x: Rows<'a>,
    t: usize,
    g: usize,
    pads: &'a mut [[f32; ACT_GROUP]; T],
) -> [Inputs<'a>; T] {
    let mut inputs: [Inputs; T] = [&[0.0; ACT_GROUP]; T];
    for (i, pad) in pads.iter_mut().enumerate() {
        let rest = &x.row(t + i)[g * ACT_GROUP..];
        inputs[i] = match rest.first_chunk() {
            Some(full) => full,
            None => {
                pad[..rest.len()].copy_from_slice(rest);
                pad
            }
        };
    }
    inputs
}

/// Adds 32 inputs' products.
#[inline]
#[target_feature(enable = "neon")]
pub fn accumulate<const KIND: u32, const T: usize>(w: &[u8], x: [Inputs; T], sums: &mut [Sums; T]) {
    assert!(w.len() == group_bytes::<KIND>());
    let mut local = *sums;
    for pair in 0..ACT_GROUP / 2 {
        // A constant index into `local` after unrolling keeps it in registers.
        for c in 0..2 {
            let i = 2 * pair + c;
            let mut weights = [vdupq_n_f32(0.0); BLOCK_ROWS / 4];
            for v in 0..BLOCK_ROWS / 4 {
                weights[v] = vector::<KIND>(w, i * (BLOCK_ROWS / 4) + v);
            }
            for t in 0..T {
                for v in 0..BLOCK_ROWS / 4 {
                    local[t][c][v] = vfmaq_n_f32(local[t][c][v], weights[v], x[t][i]);
                }
            }
        }
    }
    *sums = local;
}

/// The `index`th four weights.
#[inline]
#[target_feature(enable = "neon")]
fn vector<const KIND: u32>(w: &[u8], index: usize) -> float32x4_t {
    if KIND == F32 {
        return vreinterpretq_f32_u8(load_bytes(&w.as_chunks().0[index]));
    }
    let halves = load_halves(&w.as_chunks().0[index]);
    if KIND == F16 { widen(halves) } else { vreinterpretq_f32_u32(vshll_n_u16::<16>(halves)) }
}

/// Joins the sums of token `t`.
#[inline]
#[target_feature(enable = "neon")]
pub fn finish(sums: &Sums, y: &Epilogue, t: usize) {
    let mut out = [0.0; BLOCK_ROWS];
    for (v, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        store(out, vaddq_f32(sums[0][v], sums[1][v]));
    }
    y.store(t, &out);
}
