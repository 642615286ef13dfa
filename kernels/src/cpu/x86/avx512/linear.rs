//! Packed f32, f16 and bf16 weights times f32 activations.
//!
//! Even and odd inputs are summed apart: two chains hide enough of FMA's latency to keep up with memory when there is
//! one token. A token's result does not depend on its company.

use core::arch::x86_64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::cpu::x86::prefetch;
use crate::layout::Kind;
use crate::pack::{Block, Blocks};

const F32: u32 = Kind::F32 as u32;
const F16: u32 = Kind::F16 as u32;
const BF16: u32 = Kind::Bf16 as u32;

/// Tokens that two blocks are multiplied by together, as many as leave registers for their sums: an input that is loaded serves both, which
/// a core that multiplies as fast as it loads is glad of.
const TOKENS: usize = 6;
/// Fewer tokens wait for weights, which two streams do not bring faster.
const MANY: usize = 2 * TOKENS;

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn linear(w: Block, x: Rows, y: Epilogue) {
    match w.kind {
        Kind::F16 => tokens_from::<F16>(&w, x, &y, 0),
        Kind::Bf16 => tokens_from::<BF16>(&w, x, &y, 0),
        _ => tokens_from::<F32>(&w, x, &y, 0),
    }
}

/// As [`linear`], two blocks at a time where there are tokens enough.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn linear_blocks(mut blocks: Blocks, x: Rows, y: &dyn Fn(usize) -> Epilogue) {
    let mut i = 0;
    while let Some(w) = blocks.next() {
        let second = if x.count() < MANY { None } else { blocks.next() };
        i += match second {
            None => {
                linear(w, x, y(i));
                1
            }
            Some(second) => {
                let (w, y) = ([w, second], [y(i), y(i + 1)]);
                match w[0].kind {
                    Kind::F16 => two_blocks::<F16>(&w, x, &y),
                    Kind::Bf16 => two_blocks::<BF16>(&w, x, &y),
                    _ => two_blocks::<F32>(&w, x, &y),
                }
                2
            }
        };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn two_blocks<const KIND: u32>(w: &[Block; 2], x: Rows, y: &[Epilogue; 2]) {
    let mut t = 0;
    while x.count() - t >= TOKENS {
        t += some_tokens::<KIND, 2, TOKENS>([&w[0].at(t), &w[1].at(t)], x, [&y[0], &y[1]], t);
    }
    for (w, y) in w.iter().zip(y) {
        tokens_from::<KIND>(w, x, y, t);
    }
}

/// Tokens `t..`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn tokens_from<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue, mut t: usize) {
    while t < x.count() {
        let w = &w.at(t);
        t += match x.count() - t {
            1 => some_tokens::<KIND, 1, 1>([w], x, [y], t),
            2 | 3 => some_tokens::<KIND, 1, 2>([w], x, [y], t),
            4..8 => some_tokens::<KIND, 1, 4>([w], x, [y], t),
            _ => some_tokens::<KIND, 1, 8>([w], x, [y], t),
        };
    }
}

/// Bytes of 16 rows × 32 inputs.
const fn group_bytes<const KIND: u32>() -> usize {
    BLOCK_ROWS * ACT_GROUP * if KIND == F32 { 4 } else { 2 }
}

/// Tokens `t..t + T` times `B` blocks; returns `T`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn some_tokens<const KIND: u32, const B: usize, const T: usize>(
    w: [&Block; B],
    x: Rows,
    y: [&Epilogue; B],
    t: usize,
) -> usize {
    let mut sums = [[[_mm512_setzero_ps(); 2]; T]; B];
    let mut rows: [&[[f32; ACT_GROUP]]; T] = [&[]; T];
    let mut pads = [[0.0; ACT_GROUP]; T];
    for i in 0..T {
        let (full, rest) = x.row(t + i).as_chunks();
        rows[i] = full;
        pads[i][..rest.len()].copy_from_slice(rest);
    }
    for g in 0..w[0].bytes.len() / group_bytes::<KIND>() {
        let mut parts: [&[u8]; B] = [&[]; B];
        for b in 0..B {
            parts[b] = &w[b].bytes[g * group_bytes::<KIND>()..][..group_bytes::<KIND>()];
            prefetch(w[b], parts[b]);
        }
        let mut inputs: [&[f32; ACT_GROUP]; T] = [&[0.0; ACT_GROUP]; T];
        for i in 0..T {
            inputs[i] = rows[i].get(g).unwrap_or(&pads[i]);
        }
        accumulate::<KIND, B, T>(parts, inputs, &mut sums);
    }
    for b in 0..B {
        for (i, sums) in sums[b].iter().enumerate() {
            let mut out = [0.0; BLOCK_ROWS];
            // SAFETY: 16 values.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(sums[0], sums[1])) };
            y[b].store(t + i, &out);
        }
    }
    T
}

/// Adds 32 inputs' products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn accumulate<const KIND: u32, const B: usize, const T: usize>(
    w: [&[u8]; B],
    x: [&[f32; ACT_GROUP]; T],
    sums: &mut [[[__m512; 2]; T]; B],
) {
    assert!(w.iter().all(|w| w.len() == group_bytes::<KIND>()));
    let mut local = *sums;
    for pair in 0..ACT_GROUP / 2 {
        // A constant index into `local` after unrolling keeps it in registers.
        for c in 0..2 {
            let i = 2 * pair + c;
            let mut weights = [_mm512_setzero_ps(); B];
            for b in 0..B {
                weights[b] = vector::<KIND>(w[b], i);
            }
            for t in 0..T {
                let x = _mm512_set1_ps(x[t][i]);
                for b in 0..B {
                    local[b][t][c] = _mm512_fmadd_ps(weights[b], x, local[b][t][c]);
                }
            }
        }
    }
    *sums = local;
}

/// The weights of input `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn vector<const KIND: u32>(w: &[u8], i: usize) -> __m512 {
    if KIND == F32 {
        let w: &[u8; 64] = &w.as_chunks().0[i];
        // SAFETY: 64 bytes, any alignment.
        return unsafe { _mm512_loadu_ps(w.as_ptr().cast()) };
    }
    let w: &[u8; 32] = &w.as_chunks().0[i];
    // SAFETY: 32 bytes, any alignment.
    let halves = unsafe { _mm256_loadu_si256(w.as_ptr().cast()) };
    if KIND == F16 { _mm512_cvtph_ps(halves) } else { widened(halves) }
}

/// bf16 as f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn widened(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}
