//! Packed weights of any kind times f32 activations.
//!
//! Even and odd inputs are summed apart: two chains × 16 rows hide enough of FMA's latency to keep up with memory when
//! there is one token, and all of it (8 sums) when there are two. A token's result does not depend on its company.

use core::arch::x86_64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::layout::Kind;
use crate::pack::Block;

use super::lanes::{load_halves, store};
use super::{Avx2, linear_quantized};
use crate::cpu::x86::prefetch;

const F32: u32 = Kind::F32 as u32;
const F16: u32 = Kind::F16 as u32;
const BF16: u32 = Kind::Bf16 as u32;

/// Sums of 16 rows over even and over odd inputs.
pub type Sums = [[__m256; 2]; 2];
type Inputs<'a> = &'a [f32; ACT_GROUP];

#[target_feature(enable = "avx2,fma,f16c")]
pub fn linear(isa: Avx2, w: Block, x: Rows, y: Epilogue) {
    match w.kind {
        Kind::F32 => all_tokens::<F32>(&w, x, &y),
        Kind::F16 => all_tokens::<F16>(&w, x, &y),
        Kind::Bf16 => all_tokens::<BF16>(&w, x, &y),
        _ => linear_quantized::linear(isa, w, x, y),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn all_tokens<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue) {
    let mut t = 0;
    while t < x.count() {
        let w = &w.at(t);
        t += match x.count() - t {
            1 => some_tokens::<KIND, 1>(w, x, y, t),
            _ => some_tokens::<KIND, 2>(w, x, y, t),
        };
    }
}

/// Bytes of 16 rows × 32 inputs.
const fn group_bytes<const KIND: u32>() -> usize {
    BLOCK_ROWS * ACT_GROUP * if KIND == F32 { 4 } else { 2 }
}

/// Tokens `t..t + T`; returns `T`.
#[target_feature(enable = "avx2,fma,f16c")]
fn some_tokens<const KIND: u32, const T: usize>(w: &Block, x: Rows, y: &Epilogue, t: usize) -> usize {
    let mut sums = [[[_mm256_setzero_ps(); 2]; 2]; T];
    for (g, part) in w.bytes.chunks_exact(group_bytes::<KIND>()).enumerate() {
        prefetch(w, part);
        let mut pads = [[0.0; ACT_GROUP]; T];
        accumulate::<KIND, T>(part, inputs(x, t, g, &mut pads), &mut sums);
    }
    for (i, sums) in sums.iter().enumerate() {
        finish(sums, y, t + i);
    }
    T
}

/// Group `g` of tokens `t..t + T`, padded with zeros beyond the last input.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn inputs<'a, const T: usize>(
    x: Rows<'a>,
    t: usize,
    g: usize,
    pads: &'a mut [[f32; ACT_GROUP]; T],
) -> [Inputs<'a>; T] {
    let mut inputs: [Inputs; T] = [&[0.0; ACT_GROUP]; T];
    for (i, pad) in pads.iter_mut().enumerate() {
        inputs[i] = padded(&x.row(t + i)[g * ACT_GROUP..], pad);
    }
    inputs
}

/// The first 32 values, or as many as there are followed by `pad`'s.
#[inline]
pub fn padded<'a>(x: &'a [f32], pad: &'a mut [f32; ACT_GROUP]) -> Inputs<'a> {
    match x.first_chunk() {
        Some(full) => full,
        None => {
            pad[..x.len()].copy_from_slice(x);
            pad
        }
    }
}

/// Adds 32 inputs' products.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn accumulate<const KIND: u32, const T: usize>(w: &[u8], x: [Inputs; T], sums: &mut [Sums; T]) {
    assert!(w.len() == group_bytes::<KIND>());
    let mut local = *sums;
    for pair in 0..ACT_GROUP / 2 {
        // A constant index into `local` after unrolling keeps it in registers.
        for c in 0..2 {
            let i = 2 * pair + c;
            let w = [vector::<KIND>(w, 2 * i), vector::<KIND>(w, 2 * i + 1)];
            for t in 0..T {
                let x = _mm256_set1_ps(x[t][i]);
                local[t][c][0] = _mm256_fmadd_ps(w[0], x, local[t][c][0]);
                local[t][c][1] = _mm256_fmadd_ps(w[1], x, local[t][c][1]);
            }
        }
    }
    *sums = local;
}

/// The `index`th eight weights.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn vector<const KIND: u32>(w: &[u8], index: usize) -> __m256 {
    if KIND == F32 {
        return _mm256_castsi256_ps(super::lanes::load_bytes(&w.as_chunks().0[index]));
    }
    let halves = load_halves(&w.as_chunks().0[index]);
    if KIND == F16 {
        _mm256_cvtph_ps(halves)
    } else {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}

/// Joins the sums of token `t`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn finish(sums: &Sums, y: &Epilogue, t: usize) {
    let mut out = [0.0; BLOCK_ROWS];
    for (h, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        store(out, _mm256_add_ps(sums[0][h], sums[1][h]));
    }
    y.store(t, &out);
}
