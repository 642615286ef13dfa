//! Packed weights to f32. Exact: a product of an f16 scale and a small integer fits f32, so only I4Min rounds, once.

use core::arch::x86_64::*;

use crate::abi::ACT_GROUP;
use crate::layout::{Kind, block_bytes};
use crate::pack::Block;

use super::lanes::{load_bytes, load_halves, store};
use super::linear::Group;

/// Inputs `32 s..32 s + 32` of the block's 16 rows; not for F32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn decode(w: &Block, s: usize, out: &mut Group) {
    if !w.kind.is_quantized() {
        let halves = w.bytes.as_chunks::<16>().0[s * 2 * ACT_GROUP..].iter();
        for (half, out) in halves.zip(out.as_flattened_mut().as_chunks_mut().0) {
            let half = load_halves(half);
            let value = if w.kind == Kind::F16 {
                _mm256_cvtph_ps(half)
            } else {
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)))
            };
            store(out, value);
        }
        return;
    }
    let (g, first) = (s * ACT_GROUP / w.group, s * ACT_GROUP % w.group);
    let group = &w.bytes[g * block_bytes(w.kind, w.group, w.group)..];
    let halves = group.as_chunks::<16>().0;
    let scales = [_mm256_cvtph_ps(load_halves(&halves[0])), _mm256_cvtph_ps(load_halves(&halves[1]))];
    let data = &group[w.kind.group_header_bytes()..];
    match w.kind {
        Kind::I8 => decode_i8(&data.as_chunks().0[first / 4..], scales, out),
        _ => {
            let mins = if w.kind == Kind::I4Min {
                [_mm256_cvtph_ps(load_halves(&halves[2])), _mm256_cvtph_ps(load_halves(&halves[3]))]
            } else {
                let minus8 = _mm256_set1_ps(-8.0);
                [_mm256_mul_ps(scales[0], minus8), _mm256_mul_ps(scales[1], minus8)]
            };
            decode_i4(&data.as_chunks().0[first / 8..], scales, mins, out);
        }
    }
}

/// Of each dword (a row's four inputs), byte `j` moved to the top and back down with its sign.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn decode_i8(columns: &[[u8; 64]], scales: [__m256; 2], out: &mut Group) {
    for (column, out) in columns.iter().zip(out.as_chunks_mut::<4>().0) {
        for (h, bytes) in column.as_chunks().0.iter().enumerate() {
            let w = load_bytes(bytes);
            let tops = [_mm256_slli_epi32::<24>(w), _mm256_slli_epi32::<16>(w), _mm256_slli_epi32::<8>(w), w];
            for (top, out) in tops.into_iter().zip(out.iter_mut()) {
                let value = _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(top));
                store(&mut out.as_chunks_mut().0[h], _mm256_mul_ps(value, scales[h]));
            }
        }
    }
}

/// Of each dword, low nibbles are inputs 0–3 and high nibbles inputs 4–7.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn decode_i4(columns: &[[u8; 64]], scales: [__m256; 2], mins: [__m256; 2], out: &mut Group) {
    let low = _mm256_set1_epi32(15);
    for (column, out) in columns.iter().zip(out.as_chunks_mut::<8>().0) {
        for (h, bytes) in column.as_chunks().0.iter().enumerate() {
            let w = load_bytes(bytes);
            let shifted = [
                w,
                _mm256_srli_epi32::<8>(w),
                _mm256_srli_epi32::<16>(w),
                _mm256_srli_epi32::<24>(w),
                _mm256_srli_epi32::<4>(w),
                _mm256_srli_epi32::<12>(w),
                _mm256_srli_epi32::<20>(w),
                _mm256_srli_epi32::<28>(w),
            ];
            for (shifted, out) in shifted.into_iter().zip(out.iter_mut()) {
                let q = _mm256_cvtepi32_ps(_mm256_and_si256(shifted, low));
                store(&mut out.as_chunks_mut().0[h], _mm256_fmadd_ps(q, scales[h], mins[h]));
            }
        }
    }
}
