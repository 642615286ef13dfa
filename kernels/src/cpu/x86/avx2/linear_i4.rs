//! Packed int4 weights times Q8 activations: what `vnni::linear_q8` does for every kind, to the bit, but faster for these. Their products fit
//! 16 bits until all 32 inputs are summed.

use core::arch::x86_64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::q8::Q8Ref;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::layout::{Kind, block_bytes};
use crate::pack::Block;

use super::lanes::{load_bytes, load_halves};
use crate::cpu::x86::prefetch;
use crate::cpu::x86::vnni::pair;

const I4: u32 = Kind::I4 as u32;
const I4MIN: u32 = Kind::I4Min as u32;

#[target_feature(enable = "avx2,fma,f16c")]
pub fn linear_q8(w: Block, x: Q8Rows, y: Epilogue) {
    match w.kind {
        Kind::I4 => all_tokens::<I4>(&w, x, &y),
        _ => all_tokens::<I4MIN>(&w, x, &y),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn all_tokens<const KIND: u32>(w: &Block, x: Q8Rows, y: &Epilogue) {
    let mut t = 0;
    while t < x.count() {
        match x.count() - t {
            1 => some_tokens::<KIND, 1>(w, x, y, t),
            2 => some_tokens::<KIND, 2>(w, x, y, t),
            3 => some_tokens::<KIND, 3>(w, x, y, t),
            _ => some_tokens::<KIND, 4>(w, x, y, t),
        }
        t += 4;
    }
}

/// Tokens `t..t + T`: as many as leave registers for the weights.
#[target_feature(enable = "avx2,fma,f16c")]
fn some_tokens<const KIND: u32, const T: usize>(w: &Block, x: Q8Rows, y: &Epilogue, t: usize) {
    let mut inputs = [x.row(t); T];
    for (i, row) in inputs.iter_mut().enumerate() {
        *row = x.row(t + i);
    }
    let mut sums = [[_mm256_setzero_ps(); 2]; T];
    let mut s = 0;
    for group in w.bytes.chunks(block_bytes(w.kind, w.group, w.group)) {
        let (header, data) = group.split_at(header_bytes::<KIND>());
        prefetch(w, header);
        let halves = header.as_chunks().0;
        let scales = [_mm256_cvtph_ps(load_halves(&halves[0])), _mm256_cvtph_ps(load_halves(&halves[1]))];
        for data in data.chunks_exact(block_data_bytes()) {
            prefetch(w, data);
            if KIND == I4MIN {
                let mins = [_mm256_cvtph_ps(load_halves(&halves[2])), _mm256_cvtph_ps(load_halves(&halves[3]))];
                for i in 0..T {
                    let sum = _mm256_cvtepi32_ps(input_sum(&inputs[i], s, 1));
                    let total = _mm256_mul_ps(sum, _mm256_set1_ps(inputs[i].scales[s]));
                    for h in 0..2 {
                        sums[i][h] = _mm256_fmadd_ps(mins[h], total, sums[i][h]);
                    }
                }
            }
            let products = dot32::<KIND, T>(data.as_chunks().0, &inputs, s);
            for i in 0..T {
                let scale = _mm256_set1_ps(inputs[i].scales[s]);
                for h in 0..2 {
                    let product = _mm256_mul_ps(_mm256_cvtepi32_ps(products[i][h]), scale);
                    sums[i][h] = _mm256_fmadd_ps(product, scales[h], sums[i][h]);
                }
            }
            s += 1;
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        y.store(t + i, &to_array(sums));
    }
}

/// Bytes of 16 rows × 32 inputs.
const fn block_data_bytes() -> usize {
    BLOCK_ROWS * ACT_GROUP / 2
}

const fn header_bytes<const KIND: u32>() -> usize {
    if KIND == I4MIN { 64 } else { 32 }
}

/// Integer sums of 16 rows × inputs `32 s..32 s + 32` for each token.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot32<const KIND: u32, const T: usize>(data: &[[u8; 32]], x: &[Q8Ref; T], s: usize) -> [[__m256i; 2]; T] {
    let mut parts: [&[[i8; 4]; 8]; T] = [&[[0; 4]; 8]; T];
    for i in 0..T {
        parts[i] = &x[i].q.as_chunks().0.as_chunks().0[s];
    }
    let mut sums = dot32_i4(data, parts);
    if KIND == I4 {
        for i in 0..T {
            let excess = input_sum(&x[i], s, 8);
            for h in 0..2 {
                sums[i][h] = _mm256_sub_epi32(sums[i][h], excess);
            }
        }
    }
    sums
}

/// `factor * sum(x)` of group `s`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn input_sum(x: &Q8Ref, s: usize, factor: i16) -> __m256i {
    _mm256_madd_epi16(_mm256_set1_epi32(pair(x.sums[s])), _mm256_set1_epi16(factor))
}

/// A pair's sum is at most 2 · 15 · 127 = 3810, and 8 of them fit 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot32_i4<const T: usize>(data: &[[u8; 32]], x: [&[[i8; 4]; 8]; T]) -> [[__m256i; 2]; T] {
    let low = _mm256_set1_epi8(15);
    let mut sums = [[_mm256_setzero_si256(); 2]; T];
    for c in 0..4 {
        for h in 0..2 {
            let w = load_bytes(&data[2 * c + h]);
            let (first, second) = (_mm256_and_si256(w, low), _mm256_and_si256(_mm256_srli_epi16::<4>(w), low));
            for t in 0..T {
                let products = [
                    _mm256_maddubs_epi16(first, broadcast(&x[t][2 * c])),
                    _mm256_maddubs_epi16(second, broadcast(&x[t][2 * c + 1])),
                ];
                sums[t][h] = _mm256_add_epi16(_mm256_add_epi16(sums[t][h], products[0]), products[1]);
            }
        }
    }
    let ones = _mm256_set1_epi16(1);
    for sum in sums.as_flattened_mut() {
        *sum = _mm256_madd_epi16(*sum, ones);
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn broadcast(x: &[i8; 4]) -> __m256i {
    _mm256_set1_epi32(i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn to_array(sums: &[__m256; 2]) -> [f32; BLOCK_ROWS] {
    let mut out = [0.0; BLOCK_ROWS];
    for (out, sum) in out.as_chunks_mut().0.iter_mut().zip(sums) {
        super::lanes::store(out, *sum);
    }
    out
}
