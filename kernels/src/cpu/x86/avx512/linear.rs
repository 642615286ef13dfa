//! Packed f32, f16 and bf16 weights times f32 activations.
//!
//! Even and odd inputs are summed apart: two chains hide enough of FMA's latency to keep up with memory when there is
//! one token. A token's result does not depend on its company.

use core::arch::x86_64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::cpu::x86::prefetch;
use crate::layout::Kind;
use crate::pack::Block;

const F32: u32 = Kind::F32 as u32;
const F16: u32 = Kind::F16 as u32;
const BF16: u32 = Kind::Bf16 as u32;

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn linear(w: Block, x: Rows, y: Epilogue) {
    match w.kind {
        Kind::F16 => all_tokens::<F16>(&w, x, &y),
        Kind::Bf16 => all_tokens::<BF16>(&w, x, &y),
        _ => all_tokens::<F32>(&w, x, &y),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn all_tokens<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue) {
    let mut t = 0;
    while t < x.count() {
        let w = &w.at(t);
        t += match x.count() - t {
            1 => some_tokens::<KIND, 1>(w, x, y, t),
            2 | 3 => some_tokens::<KIND, 2>(w, x, y, t),
            4..8 => some_tokens::<KIND, 4>(w, x, y, t),
            _ => some_tokens::<KIND, 8>(w, x, y, t),
        };
    }
}

/// Bytes of 16 rows × 32 inputs.
const fn group_bytes<const KIND: u32>() -> usize {
    BLOCK_ROWS * ACT_GROUP * if KIND == F32 { 4 } else { 2 }
}

/// Tokens `t..t + T`; returns `T`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn some_tokens<const KIND: u32, const T: usize>(w: &Block, x: Rows, y: &Epilogue, t: usize) -> usize {
    let mut sums = [[_mm512_setzero_ps(); 2]; T];
    let mut rows: [&[[f32; ACT_GROUP]]; T] = [&[]; T];
    let mut pads = [[0.0; ACT_GROUP]; T];
    for i in 0..T {
        let (full, rest) = x.row(t + i).as_chunks();
        rows[i] = full;
        pads[i][..rest.len()].copy_from_slice(rest);
    }
    for (g, part) in w.bytes.chunks_exact(group_bytes::<KIND>()).enumerate() {
        prefetch(w, part);
        let mut inputs: [&[f32; ACT_GROUP]; T] = [&[0.0; ACT_GROUP]; T];
        for i in 0..T {
            inputs[i] = rows[i].get(g).unwrap_or(&pads[i]);
        }
        accumulate::<KIND, T>(part, inputs, &mut sums);
    }
    for (i, sums) in sums.iter().enumerate() {
        let mut out = [0.0; BLOCK_ROWS];
        // SAFETY: 16 values.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(sums[0], sums[1])) };
        y.store(t + i, &out);
    }
    T
}

/// Adds 32 inputs' products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn accumulate<const KIND: u32, const T: usize>(w: &[u8], x: [&[f32; ACT_GROUP]; T], sums: &mut [[__m512; 2]; T]) {
    assert!(w.len() == group_bytes::<KIND>());
    let mut local = *sums;
    for pair in 0..ACT_GROUP / 2 {
        // A constant index into `local` after unrolling keeps it in registers.
        for c in 0..2 {
            let i = 2 * pair + c;
            let w = vector::<KIND>(w, i);
            for t in 0..T {
                local[t][c] = _mm512_fmadd_ps(w, _mm512_set1_ps(x[t][i]), local[t][c]);
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
