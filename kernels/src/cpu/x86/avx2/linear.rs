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
        let inputs = Inputs { x, first: begin * ACT_GROUP };
        for (t, sums) in (0..count).step_by(6).zip(sums.chunks_mut(6)) {
            match count - t {
                1 => one_token(weights, inputs, first + t, sums),
                2 => some_tokens::<2>(weights, inputs, first + t, sums),
                3 => some_tokens::<3>(weights, inputs, first + t, sums),
                4 => some_tokens::<4>(weights, inputs, first + t, sums),
                5 => some_tokens::<5>(weights, inputs, first + t, sums),
                _ => some_tokens::<6>(weights, inputs, first + t, sums),
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

/// The tokens' inputs from `first` on.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    x: Rows<'a>,
    first: usize,
}

impl<'a> Inputs<'a> {
    fn of(self, t: usize) -> &'a [f32] {
        &self.x.row(t)[self.first..]
    }
}

/// All chains at once.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn one_token(w: &[Group], x: Inputs, t: usize, sums: &mut [[Sums; CHAINS]]) {
    let ([w0, w1, w2, w3], [x0, x1, x2, x3, ..]) = (w, x.of(t).as_chunks::<ACT_GROUP>().0) else {
        return some_tokens::<1>(w, x, t, sums);
    };
    let (w, x) = ([w0, w1, w2, w3], [x0, x1, x2, x3]);
    let mut local = sums[0];
    for i in 0..ACT_GROUP {
        for c in 0..CHAINS {
            add(&mut local[c], &w[c][i], x[c][i]);
        }
    }
    sums[0] = local;
}

/// Tokens `t..t + T`, one chain after another.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn some_tokens<const T: usize>(w: &[Group], x: Inputs, t: usize, sums: &mut [[Sums; CHAINS]]) {
    for (c, w) in w.iter().enumerate() {
        let mut pad = [[0.0; ACT_GROUP]; T];
        let mut inputs: [&[f32; ACT_GROUP]; T] = [&[0.0; ACT_GROUP]; T];
        let mut local = [[_mm256_setzero_ps(); 2]; T];
        for (i, pad) in pad.iter_mut().enumerate() {
            let rest = &x.of(t + i)[c * ACT_GROUP..];
            inputs[i] = match rest.first_chunk() {
                Some(full) => full,
                None => {
                    pad[..rest.len()].copy_from_slice(rest);
                    pad
                }
            };
            local[i] = sums[i][c];
        }
        for (i, w) in w.iter().enumerate() {
            for t in 0..T {
                add(&mut local[t], w, inputs[t][i]);
            }
        }
        for (sums, local) in sums.iter_mut().zip(local) {
            sums[c] = local;
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
