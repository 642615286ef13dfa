//! Packed weights of any kind times f32 activations.
//!
//! Weights of 32 inputs are decoded to f32 once for all tokens of a tile, then multiplied with up to six tokens at a
//! time. Four chains of sums, one for every fourth group of 32 inputs, hide the latency of FMA when there is one token;
//! more tokens use the same chains one after another, so a token's result does not depend on its company.

use core::arch::x86_64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::layout::Kind;
use crate::pack::Block;

use super::decode::decode;
use super::lanes::{load, store};

const CHAINS: usize = 4;
/// Tokens that share one decoding of the weights; their sums (6 KiB) and the weights (8 KiB) stay in L1.
const TILE: usize = 24;

/// 16 rows × 32 inputs, `[input][row]`.
pub type Group = [[f32; BLOCK_ROWS]; ACT_GROUP];
type Sums = [__m256; 2];

#[target_feature(enable = "avx2,fma,f16c")]
pub fn linear(w: Block, x: Rows, y: Epilogue) {
    for first in (0..x.count()).step_by(TILE) {
        tile(&w, x, &y, first, TILE.min(x.count() - first));
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn tile(w: &Block, x: Rows, y: &Epilogue, first: usize, count: usize) {
    let groups = w.cols.div_ceil(ACT_GROUP);
    let mut sums = [[[_mm256_setzero_ps(); 2]; CHAINS]; TILE];
    let mut scratch: [Group; CHAINS] = [[[0.0; BLOCK_ROWS]; ACT_GROUP]; CHAINS];
    for begin in (0..groups).step_by(CHAINS) {
        let here = CHAINS.min(groups - begin);
        let weights = weights_f32(w, begin, here, &mut scratch);
        for (t, sums) in (0..count).step_by(6).zip(sums.chunks_mut(6)) {
            let inputs = |t: usize| &x.row(first + t)[begin * ACT_GROUP..];
            match count - t {
                1 => one_token(weights, inputs(t), &mut sums[0]),
                2 => some_tokens::<2>(weights, [0, 1].map(|i| inputs(t + i)), sums),
                3 => some_tokens::<3>(weights, [0, 1, 2].map(|i| inputs(t + i)), sums),
                4 => some_tokens::<4>(weights, [0, 1, 2, 3].map(|i| inputs(t + i)), sums),
                5 => some_tokens::<5>(weights, [0, 1, 2, 3, 4].map(|i| inputs(t + i)), sums),
                _ => some_tokens::<6>(weights, [0, 1, 2, 3, 4, 5].map(|i| inputs(t + i)), sums),
            }
        }
    }
    for (t, sums) in sums[..count].iter().enumerate() {
        let mut out = [0.0; BLOCK_ROWS];
        for (h, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            store(out, _mm256_add_ps(_mm256_add_ps(sums[0][h], sums[1][h]), _mm256_add_ps(sums[2][h], sums[3][h])));
        }
        y.store(first + t, &out);
    }
}

/// Groups `begin..begin + count` of the block as f32: in place where they are, else decoded into `scratch`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weights_f32<'a>(w: &Block<'a>, begin: usize, count: usize, scratch: &'a mut [Group; CHAINS]) -> &'a [Group] {
    if w.kind == Kind::F32 {
        let bytes = &w.bytes[begin * size_of::<Group>()..][..count * size_of::<Group>()];
        assert!(bytes.as_ptr().cast::<Group>().is_aligned());
        // SAFETY: aligned, as long, and every bit pattern is an f32.
        return unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), count) };
    }
    for (s, out) in scratch[..count].iter_mut().enumerate() {
        decode(w, begin + s, out);
    }
    &scratch[..count]
}

/// All chains at once.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn one_token(w: &[Group], x: &[f32], sums: &mut [Sums; CHAINS]) {
    match (w, x.as_chunks::<ACT_GROUP>().0) {
        ([w0, w1, w2, w3], [x0, x1, x2, x3, ..]) => {
            let (w, x) = ([w0, w1, w2, w3], [x0, x1, x2, x3]);
            let mut local = *sums;
            for i in 0..ACT_GROUP {
                for c in 0..CHAINS {
                    add(&mut local[c], &w[c][i], x[c][i]);
                }
            }
            *sums = local;
        }
        _ => some_tokens::<1>(w, [x], core::slice::from_mut(sums)),
    }
}

/// One chain after another.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn some_tokens<const T: usize>(w: &[Group], x: [&[f32]; T], sums: &mut [[Sums; CHAINS]]) {
    for (c, w) in w.iter().enumerate() {
        let mut pad = [[0.0; ACT_GROUP]; T];
        let mut inputs: [&[f32; ACT_GROUP]; T] = [&[0.0; ACT_GROUP]; T];
        for ((input, x), pad) in inputs.iter_mut().zip(x).zip(&mut pad) {
            let rest = &x[c * ACT_GROUP..];
            *input = match rest.first_chunk() {
                Some(full) => full,
                None => {
                    pad[..rest.len()].copy_from_slice(rest);
                    pad
                }
            };
        }
        let mut local: [Sums; T] = core::array::from_fn(|t| sums[t][c]);
        for (i, w) in w.iter().enumerate() {
            for t in 0..T {
                add(&mut local[t], w, inputs[t][i]);
            }
        }
        for t in 0..T {
            sums[t][c] = local[t];
        }
    }
}

/// `sums += w * x`
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add(sums: &mut Sums, w: &[f32; BLOCK_ROWS], x: f32) {
    let x = _mm256_set1_ps(x);
    for (sum, w) in sums.iter_mut().zip(w.as_chunks().0) {
        *sum = _mm256_fmadd_ps(load(w), x, *sum);
    }
}
