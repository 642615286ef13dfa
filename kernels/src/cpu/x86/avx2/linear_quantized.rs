//! Packed weights of any quantized kind times f32 activations.
//!
//! Weights are dequantized in the same way in registers for one token and through memory for many, so with the same result.

use core::arch::x86_64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::cpu::x86::vnni::Rows16;
use crate::cpu::x86::vnni::numbers::{self, COLUMNS, column, factor};
use crate::layout::{Kind, Values, block_bytes};
use crate::pack::Block;

use super::Avx2;
use super::lanes::store;
use super::linear::{Sums, accumulate, finish, inputs, padded};
use crate::cpu::x86::prefetch;

const F32: u32 = Kind::F32 as u32;

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

/// Any quantized kind.
pub fn linear(isa: Avx2, w: Block, x: Rows, y: Epilogue) {
    macro_rules! kinds {
        ($($kind:ident)*) => {
            match w.kind {
                // SAFETY: a value of `Avx2` proves that the CPU has the features.
                $(Kind::$kind => unsafe { all_tokens::<{ Kind::$kind as u32 }>(isa, &w, x, &y) },)*
                Kind::F32 | Kind::F16 | Kind::Bf16 => {}
            }
        };
    }
    kinds!(I8 I4 I4Min I2 I3 I5 I6 I2Min I3Min I5Min I6Min I8Min K2 K3 K4 K5 K6 N2 N3 N4)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn all_tokens<const KIND: u32>(isa: Avx2, w: &Block, x: Rows, y: &Epilogue) {
    if x.count() == 1 {
        return one_token::<KIND>(isa, w, x, y);
    }
    for first in (0..x.count()).step_by(TOKENS) {
        tile::<KIND>(isa, &w.at(first), x, y, first, TOKENS.min(x.count() - first));
    }
}

/// Inputs `32 s..32 s + 32`.
struct Step<'a> {
    /// From the group's header on.
    group: &'a [u8],
    subs: &'a [u8],
    numbers: &'a [u8],
    bytes: &'a [u8],
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn step<'a, const KIND: u32>(w: &Block<'a>, s: usize) -> Step<'a> {
    let format = const { numbers::format::<KIND>() };
    let (g, within) = (s * ACT_GROUP / w.group, s * ACT_GROUP % w.group / ACT_GROUP);
    let group = &w.bytes[g * block_bytes(w.kind, w.group, w.group)..];
    let size = format.sub_bytes() + format.number_bytes();
    let bytes = &group[format.header_bytes() + within * size..][..size];
    let (subs, numbers) = bytes.split_at(format.sub_bytes());
    Step { group, subs, numbers, bytes }
}

/// What a part of a step needs to become weights: `value * scale + min`.
#[derive(Clone, Copy)]
struct Part {
    scale: [__m256; 2],
    min: [__m256; 2],
}

#[inline(always)]
fn part<const KIND: u32>(isa: Avx2, step: &Step, part: usize) -> Part {
    let format = const { numbers::format::<KIND>() };
    let scale = factor::<Avx2, KIND>(isa, step.group, step.subs, (0, part));
    let min = match format.min {
        true => factor::<Avx2, KIND>(isa, step.group, step.subs, (1, part)),
        false => isa.mul(scale, isa.float(-(numbers::zero::<Avx2>(format) as f32))),
    };
    Part { scale, min }
}

/// Byte `j` of eight rows' dwords, as weights of half `h` of the rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn value<const KIND: u32>(w: __m256i, j: usize, part: &Part, h: usize) -> __m256 {
    let format = const { numbers::format::<KIND>() };
    if matches!(format.values, Values::From { .. }) {
        let low = _mm256_srlv_epi32(w, _mm256_set1_epi32(8 * j as i32));
        let value = _mm256_cvtepi32_ps(_mm256_and_si256(low, _mm256_set1_epi32(255)));
        return _mm256_fmadd_ps(value, part.scale[h], part.min[h]);
    }
    // Moved to the top and back down with its sign.
    let top = _mm256_sllv_epi32(w, _mm256_set1_epi32(24 - 8 * j as i32));
    let value = _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(top));
    match format.min {
        true => _mm256_fmadd_ps(value, part.scale[h], part.min[h]),
        false => _mm256_mul_ps(value, part.scale[h]),
    }
}

/// A call of one token: weights stay in registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn one_token<const KIND: u32>(isa: Avx2, w: &Block, x: Rows, y: &Epilogue) {
    let format = const { numbers::format::<KIND>() };
    let columns = COLUMNS / format.parts();
    let mut sums = [[_mm256_setzero_ps(); 2]; 2];
    for (s, x) in x.row(0).chunks(ACT_GROUP).enumerate() {
        let mut pad = [0.0; ACT_GROUP];
        let x = padded(x, &mut pad);
        let step = step::<KIND>(w, s);
        prefetch(w, step.bytes);
        for p in 0..format.parts() {
            let part = part::<KIND>(isa, &step, p);
            for c in p * columns..(p + 1) * columns {
                let w = column::<Avx2, KIND>(isa, step.numbers, c);
                for h in 0..2 {
                    for j in 0..4 {
                        let w = value::<KIND>(w[h], j, &part, h);
                        sums[j % 2][h] = _mm256_fmadd_ps(w, _mm256_set1_ps(x[4 * c + j]), sums[j % 2][h]);
                    }
                }
            }
        }
    }
    finish(&sums, y, 0);
}

/// A group's weights are decoded once for all tokens.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<const KIND: u32>(isa: Avx2, w: &Block, x: Rows, y: &Epilogue, first: usize, count: usize) {
    let mut sums = [[[[_mm256_setzero_ps(); 2]; 2]; SOME]; CALLS];
    let mut weights = Decoded::new();
    for s in 0..w.cols.div_ceil(ACT_GROUP) {
        let step = step::<KIND>(w, s);
        prefetch(w, step.bytes);
        decode::<KIND>(isa, &step, &mut weights);
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
fn decode<const KIND: u32>(isa: Avx2, step: &Step, out: &mut Decoded) {
    let format = const { numbers::format::<KIND>() };
    let columns = COLUMNS / format.parts();
    for p in 0..format.parts() {
        let part = part::<KIND>(isa, step, p);
        for c in p * columns..(p + 1) * columns {
            let w = column::<Avx2, KIND>(isa, step.numbers, c);
            for h in 0..2 {
                for j in 0..4 {
                    store(&mut out.0[4 * c + j][h], value::<KIND>(w[h], j, &part, h));
                }
            }
        }
    }
}

const _: () = assert!(size_of::<Decoded>() == 4 * BLOCK_ROWS * ACT_GROUP);
