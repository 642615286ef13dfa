//! Packed int8 and int4 weights times f32 activations.
//!
//! Dequantizing is exact (a product of an f16 scale and a small integer fits f32; only I4Min rounds, once), so weights may
//! be dequantized in registers for one token and through memory for many, with the same result.

use core::arch::x86_64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::layout::{Kind, block_bytes};
use crate::pack::Block;

use super::lanes::{load_bytes, load_halves};
use super::linear::{Sums, accumulate, finish, inputs, padded};
use crate::cpu::x86::prefetch;

const F32: u32 = Kind::F32 as u32;
const I8: u32 = Kind::I8 as u32;
const I4: u32 = Kind::I4 as u32;
const I4MIN: u32 = Kind::I4Min as u32;

/// Tokens of one call of `accumulate`.
const SOME: usize = 2;
/// How many such calls share one decoding of the weights.
const CALLS: usize = 16;
pub const TOKENS: usize = CALLS * SOME;

/// 16 rows × 32 inputs as f32, `[input][row]`.
#[repr(align(64))]
struct Decoded([[[f32; 8]; 2]; ACT_GROUP]);

impl Decoded {
    const fn new() -> Decoded {
        Decoded([[[0.0; 8]; 2]; ACT_GROUP])
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: any f32 is bytes.
        unsafe { core::slice::from_raw_parts((&raw const self.0).cast(), size_of_val(&self.0)) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn linear(w: Block, x: Rows, y: Epilogue) {
    match w.kind {
        Kind::I8 => all_tokens::<I8>(&w, x, &y),
        Kind::I4 => all_tokens::<I4>(&w, x, &y),
        _ => all_tokens::<I4MIN>(&w, x, &y),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn all_tokens<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue) {
    if x.count() == 1 {
        return one_token::<KIND>(w, x, y);
    }
    for first in (0..x.count()).step_by(TOKENS) {
        tile::<KIND>(&w.at(first), x, y, first, TOKENS.min(x.count() - first));
    }
}

/// Inputs whose weights lie together in 64 bytes.
const fn column<const KIND: u32>() -> usize {
    if KIND == I8 { 4 } else { 8 }
}

/// Scales, minima (`-8 * scale` for I4) and columns of inputs `32 s..32 s + 32`.
struct Group<'a> {
    scales: [__m256; 2],
    mins: [__m256; 2],
    columns: &'a [[[u8; 32]; 2]],
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn group<'a, const KIND: u32>(w: &Block<'a>, s: usize) -> Group<'a> {
    let (g, first) = (s * ACT_GROUP / w.group, s * ACT_GROUP % w.group);
    let bytes = &w.bytes[g * block_bytes(w.kind, w.group, w.group)..];
    let halves = bytes.as_chunks().0;
    let scales = [_mm256_cvtph_ps(load_halves(&halves[0])), _mm256_cvtph_ps(load_halves(&halves[1]))];
    let mins = if KIND == I4MIN {
        [_mm256_cvtph_ps(load_halves(&halves[2])), _mm256_cvtph_ps(load_halves(&halves[3]))]
    } else {
        let minus8 = _mm256_set1_ps(-8.0);
        [_mm256_mul_ps(scales[0], minus8), _mm256_mul_ps(scales[1], minus8)]
    };
    let columns = bytes[w.kind.group_header_bytes()..].as_chunks().0.as_chunks().0;
    Group { scales, mins, columns: &columns[first / column::<KIND>()..][..ACT_GROUP / column::<KIND>()] }
}

/// Input `j` of eight rows' dwords. I8: byte `j` moved to the top and back down with its sign. I4: low nibbles are
/// inputs 0–3, high nibbles inputs 4–7.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn value<const KIND: u32>(w: __m256i, j: usize, scale: __m256, min: __m256) -> __m256 {
    if KIND == I8 {
        let top = _mm256_sllv_epi32(w, _mm256_set1_epi32(24 - 8 * j as i32));
        return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(top)), scale);
    }
    let shift = 8 * (j % 4) + 4 * (j / 4);
    let low = _mm256_srlv_epi32(w, _mm256_set1_epi32(shift as i32));
    _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_and_si256(low, _mm256_set1_epi32(15))), scale, min)
}

/// A call of one token: weights stay in registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn one_token<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue) {
    let mut sums = [[_mm256_setzero_ps(); 2]; 2];
    for (s, x) in x.row(0).chunks(ACT_GROUP).enumerate() {
        let mut pad = [0.0; ACT_GROUP];
        let x = padded(x, &mut pad);
        let group = group::<KIND>(w, s);
        prefetch(w, group.columns.as_flattened().as_flattened());
        for (halves, x) in group.columns.iter().zip(x.chunks_exact(column::<KIND>())) {
            for h in 0..2 {
                let w = load_bytes(&halves[h]);
                for j in 0..column::<KIND>() {
                    let w = value::<KIND>(w, j, group.scales[h], group.mins[h]);
                    sums[j % 2][h] = _mm256_fmadd_ps(w, _mm256_set1_ps(x[j]), sums[j % 2][h]);
                }
            }
        }
    }
    finish(&sums, y, 0);
}

/// A group's weights are decoded once for all tokens.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue, first: usize, count: usize) {
    let mut sums = [[[[_mm256_setzero_ps(); 2]; 2]; SOME]; CALLS];
    let mut weights = Decoded::new();
    for s in 0..w.cols.div_ceil(ACT_GROUP) {
        let group = group::<KIND>(w, s);
        prefetch(w, group.columns.as_flattened().as_flattened());
        decode::<KIND>(&group, &mut weights);
        for (t, sums) in (first..first + count).step_by(SOME).zip(&mut sums) {
            match first + count - t {
                1 => some_tokens::<1>(&weights, x, t, s, sums),
                _ => some_tokens::<SOME>(&weights, x, t, s, sums),
            }
        }
    }
    for (t, sums) in (first..first + count).zip(sums.as_flattened()) {
        finish(sums, y, t);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn some_tokens<const T: usize>(w: &Decoded, x: Rows, t: usize, s: usize, sums: &mut [Sums; SOME]) {
    let mut pads = [[0.0; ACT_GROUP]; T];
    if let Some(sums) = sums.first_chunk_mut::<T>() {
        accumulate::<F32, T>(w.bytes(), inputs(x, t, s, &mut pads), sums);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn decode<const KIND: u32>(group: &Group, out: &mut Decoded) {
    for (halves, out) in group.columns.iter().zip(out.0.chunks_exact_mut(column::<KIND>())) {
        for h in 0..2 {
            let w = load_bytes(&halves[h]);
            for (j, out) in out.iter_mut().enumerate() {
                super::lanes::store(&mut out[h], value::<KIND>(w, j, group.scales[h], group.mins[h]));
            }
        }
    }
}

const _: () = assert!(size_of::<Decoded>() == 4 * BLOCK_ROWS * ACT_GROUP);
