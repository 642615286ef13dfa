//! Quantized weights times f32 activations: 32 inputs' weights are dequantized once for some tokens, then multiplied as f32
//! are. I8, I4 and I4Min are dequantized by vectors.
//!
//! Dequantizing is exact (a product of an f16 scale and a small integer fits f32; only I4Min rounds, once).

use core::arch::aarch64::*;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::layout::{Kind, block_bytes};
use crate::pack::Block;

use super::lanes::{load_bytes, load_halves, store, widen};
use super::linear::{F32, Row16, SOME, Sums, accumulate, finish, inputs, no_sums};

const I8: u32 = Kind::I8 as u32;
const I4: u32 = Kind::I4 as u32;
const I4MIN: u32 = Kind::I4Min as u32;
/// Any kind.
const OTHER: u32 = u32::MAX;

/// Calls of `accumulate` that share one dequantizing.
const CALLS: usize = 16;
/// Tokens that share it.
pub const TOKENS: usize = CALLS * SOME;
/// Vectors of 16 rows.
const VECTORS: usize = BLOCK_ROWS / 4;

/// 16 rows × 32 inputs as f32, `[input][row]`.
#[repr(align(64))]
struct Decoded([[[f32; 4]; VECTORS]; ACT_GROUP]);

impl Decoded {
    fn bytes(&self) -> &[u8] {
        // SAFETY: any f32 is bytes.
        unsafe { core::slice::from_raw_parts((&raw const self.0).cast(), size_of_val(&self.0)) }
    }
}

#[target_feature(enable = "neon")]
pub fn linear(w: Block, x: Rows, y: Epilogue) {
    for first in (0..x.count()).step_by(TOKENS) {
        let count = TOKENS.min(x.count() - first);
        match w.kind {
            Kind::I8 => tile::<I8>(&w, x, &y, first, count),
            Kind::I4 => tile::<I4>(&w, x, &y, first, count),
            Kind::I4Min => tile::<I4MIN>(&w, x, &y, first, count),
            _ => tile::<OTHER>(&w, x, &y, first, count),
        }
    }
}

/// Inputs whose weights lie together in 64 bytes.
const fn column<const KIND: u32>() -> usize {
    if KIND == I8 { 4 } else { 8 }
}

/// `count` tokens from `first` on.
#[target_feature(enable = "neon")]
fn tile<const KIND: u32>(w: &Block, x: Rows, y: &Epilogue, first: usize, count: usize) {
    let mut sums = [[no_sums(); SOME]; CALLS];
    let mut weights = Decoded([[[0.0; 4]; VECTORS]; ACT_GROUP]);
    for s in 0..w.cols.div_ceil(ACT_GROUP) {
        match KIND {
            OTHER => decode_rows(w, s, &mut weights),
            _ => decode::<KIND>(w, s, &mut weights),
        }
        for (part, sums) in (0..count).step_by(SOME).zip(&mut sums) {
            match count - part {
                1 => some_tokens::<1>(&weights, x, first + part, s, sums),
                _ => some_tokens::<SOME>(&weights, x, first + part, s, sums),
            }
        }
    }
    for (t, sums) in (first..first + count).zip(sums.as_flattened()) {
        finish(sums, y, t);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn some_tokens<const T: usize>(w: &Decoded, x: Rows, t: usize, s: usize, sums: &mut [Sums; SOME]) {
    let mut pads = [[0.0; ACT_GROUP]; T];
    if let Some(sums) = sums.first_chunk_mut::<T>() {
        accumulate::<F32, T>(w.bytes(), inputs(x, t, s, &mut pads), sums);
    }
}

/// Inputs `32 s..32 s + 32`, as the reference does it.
fn decode_rows(w: &Block, s: usize, out: &mut Decoded) {
    for r in 0..BLOCK_ROWS {
        let mut row = [0.0; ACT_GROUP];
        w.decode(r, s, &mut row);
        for (out, value) in out.0.iter_mut().zip(row) {
            out.as_flattened_mut()[r] = value;
        }
    }
}

/// Inputs `32 s..32 s + 32`.
#[inline]
#[target_feature(enable = "neon")]
fn decode<const KIND: u32>(w: &Block, s: usize, out: &mut Decoded) {
    let (g, first) = (s * ACT_GROUP / w.group, s * ACT_GROUP % w.group);
    let group = &w.bytes[g * block_bytes(w.kind, w.group, w.group)..];
    let (header, data) = group.split_at(w.kind.group_header_bytes());
    let (headers, _) = header.as_chunks::<{ 2 * BLOCK_ROWS }>();
    let scales = halves(&headers[0]);
    let mut mins = scales;
    for v in 0..VECTORS {
        mins[v] = vmulq_n_f32(scales[v], -8.0);
    }
    if KIND == I4MIN {
        mins = halves(&headers[1]);
    }
    let columns = &data.as_chunks::<{ 4 * BLOCK_ROWS }>().0[first / column::<KIND>()..];
    for (bytes, out) in columns.iter().zip(out.0.chunks_exact_mut(column::<KIND>())) {
        for v in 0..VECTORS {
            let w = vreinterpretq_u32_u8(load_bytes(&bytes.as_chunks().0[v]));
            for (j, out) in out.iter_mut().enumerate() {
                store(&mut out[v], value::<KIND>(w, j, scales[v], mins[v]));
            }
        }
    }
}

/// 16 rows' f16.
#[inline]
#[target_feature(enable = "neon")]
fn halves(bytes: &[u8; 2 * BLOCK_ROWS]) -> Row16 {
    let mut values = [vdupq_n_f32(0.0); VECTORS];
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = widen(load_halves(bytes));
    }
    values
}

/// Input `j` of four rows. I8: byte `j` moved to the top and back down with its sign. I4: low nibbles are inputs 0–3, high
/// nibbles inputs 4–7.
#[inline]
#[target_feature(enable = "neon")]
fn value<const KIND: u32>(w: uint32x4_t, j: usize, scale: float32x4_t, min: float32x4_t) -> float32x4_t {
    if KIND == I8 {
        let top = vreinterpretq_s32_u32(vshlq_u32(w, vdupq_n_s32(24 - 8 * j as i32)));
        return vmulq_f32(vcvtq_f32_s32(vshrq_n_s32::<24>(top)), scale);
    }
    let shift = 8 * (j % 4) + 4 * (j / 4);
    let low = vandq_u32(vshlq_u32(w, vdupq_n_s32(-(shift as i32))), vdupq_n_u32(15));
    vfmaq_f32(min, vcvtq_f32_u32(low), scale)
}
