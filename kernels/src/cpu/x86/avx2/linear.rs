//! Packed weights of any kind times f32 activations.
//!
//! For several tokens, some steps of a block at a time become f32, and all tokens pass by while these lie in the first cache. One
//! token's weights stay in registers, floats also for two. Either way the products of these steps are summed, and the sums added up, in order: a
//! token's result does not depend on its company.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::flash::SixByTwo;
use crate::cpu::views::{Epilogue, Rows, Tile};
use crate::cpu::x86::numbers::each_kind;
use crate::cpu::x86::rows::Rows16;
use crate::cpu::x86::{STREAMS, in_streams, prefetch, prefetch_stream};
use crate::layout::Kind;
use crate::pack::{Block, Blocks};

use super::lanes::{load_bytes, load_halves};
use super::sums::{Sum, Sums, TOKENS};
use super::{Avx2, dequantize, six_by_two};

/// Steps that are decoded at a time, and whose products are summed before they are added to what came before.
const STEPS: usize = 4;
/// Inputs of these steps.
const PART: usize = STEPS * ACT_GROUP;

const F16: u32 = Kind::F16 as u32;
const BF16: u32 = Kind::Bf16 as u32;
const F32: u32 = Kind::F32 as u32;

/// 16 rows.
pub type Float = <Avx2 as Rows16>::Float;
/// The weights of 32 inputs.
pub type Step = [Float; ACT_GROUP];
/// Inputs `32 s..32 s + 32` of a block become f32. It needs no more than the features of `Avx2`, and writes the whole step.
type Decode = unsafe fn(Avx2, &Block, usize, *mut Step);

pub fn linear(isa: Avx2, w: Block, x: Rows, y: Epilogue) {
    // SAFETY: a value of `Avx2` proves that the CPU has the features.
    unsafe {
        match (x.count(), w.kind) {
            (1, Kind::F32) => few_tokens::<F32, 1, 1>(isa, [w], x, |_| y),
            (1, Kind::F16) => few_tokens::<F16, 1, 1>(isa, [w], x, |_| y),
            (1, Kind::Bf16) => few_tokens::<BF16, 1, 1>(isa, [w], x, |_| y),
            (2, Kind::F32) => few_tokens::<F32, 1, 2>(isa, [w], x, |_| y),
            (2, Kind::F16) => few_tokens::<F16, 1, 2>(isa, [w], x, |_| y),
            (2, Kind::Bf16) => few_tokens::<BF16, 1, 2>(isa, [w], x, |_| y),
            (_, Kind::F32) => all_tokens(isa, &w, x, &y, decode::<F32>),
            (_, Kind::F16) => all_tokens(isa, &w, x, &y, decode::<F16>),
            (_, Kind::Bf16) => all_tokens(isa, &w, x, &y, decode::<BF16>),
            (1, kind) => each_kind!(kind, KIND => one_token_quantized::<KIND>(isa, &w, x, &y), float => {}),
            (_, kind) => each_kind!(kind, KIND => all_tokens(isa, &w, x, &y, dequantize::step::<KIND>), float => {}),
        }
    }
}

/// Some blocks; block `i` has the outputs `y(i)`.
pub fn linear_blocks(isa: Avx2, blocks: Blocks, x: Rows, y: &dyn Fn(usize) -> Epilogue) {
    if x.count() > 1 || !in_streams(&blocks) || blocks.kind().is_quantized() {
        return blocks.enumerate().for_each(|(i, w)| linear(isa, w, x, y(i)));
    }
    // SAFETY: a value of `Avx2` proves that the CPU has the features.
    unsafe {
        match blocks.kind() {
            Kind::F16 => one_token::<F16>(isa, &blocks, x, y),
            Kind::Bf16 => one_token::<BF16>(isa, &blocks, x, y),
            _ => one_token::<F32>(isa, &blocks, x, y),
        }
    }
}

/// All that is done between blocks is compiled for vectors: meanwhile nothing is asked of memory.
#[target_feature(enable = "avx2,fma,f16c")]
fn one_token<const KIND: u32>(isa: Avx2, blocks: &Blocks, x: Rows, y: &dyn Fn(usize) -> Epilogue) {
    for (numbers, count) in blocks.in_streams::<STREAMS>() {
        if count == STREAMS {
            few_tokens::<KIND, STREAMS, 1>(isa, numbers.map(|i| blocks.get(i)), x, |b| y(numbers[b]));
        } else {
            few_tokens::<KIND, 1, 1>(isa, [blocks.get(numbers[0])], x, |_| y(numbers[0]));
        }
    }
}

/// `B` blocks times `T` tokens.
#[target_feature(enable = "avx2,fma,f16c")]
fn few_tokens<const KIND: u32, const B: usize, const T: usize>(
    isa: Avx2,
    w: [Block; B],
    x: Rows,
    y: impl Fn(usize) -> Epilogue,
) {
    let (cols, x) = (w[0].cols, x.tile::<T>(0));
    let mut sums = [[isa.float(0.0); T]; B];
    for first in (0..cols).step_by(PART) {
        add_part::<KIND, B, T>(isa, &w, &x, (first, PART.min(cols - first)), &mut sums);
    }
    for b in 0..B {
        let y = y(b);
        for t in 0..T {
            y.store(t, &isa.rows(sums[b][t]));
        }
    }
}

/// Adds the products of inputs `first..first + inputs`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_part<const KIND: u32, const B: usize, const T: usize>(
    isa: Avx2,
    w: &[Block; B],
    x: &Tile<T>,
    (first, inputs): (usize, usize),
    sums: &mut [[Sum; T]; B],
) {
    let size = row_bytes::<KIND>();
    let mut bytes: [&[u8]; B] = [&[]; B];
    for b in 0..B {
        bytes[b] = &w[b].bytes[first * size..][..inputs * size];
    }
    let mut part = [[isa.float(0.0); T]; B];
    for i in 0..inputs {
        let x = x.inputs::<1>(first + i);
        for b in 0..B {
            let bytes = &bytes[b][i * size..][..size];
            // Two inputs of 16 bits are a line.
            if KIND == F32 || i % 2 == 0 {
                if B == 1 { prefetch(&w[b], bytes) } else { prefetch_stream(&w[b], bytes.as_ptr(), bytes.len()) }
            }
            let w = weights::<KIND>(bytes);
            for t in 0..T {
                part[b][t] = isa.fma(w, isa.float(x[t][0]), part[b][t]);
            }
        }
    }
    for b in 0..B {
        for t in 0..T {
            sums[b][t] = add(sums[b][t], part[b][t]);
        }
    }
}

/// Bytes of an input's weights of a float kind.
const fn row_bytes<const KIND: u32>() -> usize {
    BLOCK_ROWS * if KIND == F32 { 4 } else { 2 }
}

/// An input's weights.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weights<const KIND: u32>(bytes: &[u8]) -> Float {
    let (halves, words) = (bytes.as_chunks().0, bytes.as_chunks().0);
    match KIND {
        F32 => [_mm256_castsi256_ps(load_bytes(&words[0])), _mm256_castsi256_ps(load_bytes(&words[1]))],
        F16 => [_mm256_cvtph_ps(load_halves(&halves[0])), _mm256_cvtph_ps(load_halves(&halves[1]))],
        _ => [widened(load_halves(&halves[0])), widened(load_halves(&halves[1]))],
    }
}

/// bf16 as f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widened(halves: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add(a: Float, b: Float) -> Float {
    [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
}

/// # Safety
/// `out` may be written.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn decode<const KIND: u32>(_: Avx2, w: &Block, s: usize, out: *mut Step) {
    let size = ACT_GROUP * row_bytes::<KIND>();
    let bytes = &w.bytes[s * size..][..size];
    prefetch(w, bytes);
    for (i, bytes) in bytes.chunks_exact(row_bytes::<KIND>()).enumerate() {
        // SAFETY: the caller's promise; there are as many chunks as inputs.
        unsafe { out.cast::<Float>().add(i).write(weights::<KIND>(bytes)) };
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn one_token_quantized<const KIND: u32>(isa: Avx2, w: &Block, x: Rows, y: &Epilogue) {
    let mut sums = isa.float(0.0);
    for (first, x) in x.row(0).chunks(PART).enumerate() {
        let mut part = isa.float(0.0);
        for (s, x) in x.chunks(ACT_GROUP).enumerate() {
            let mut inputs = [0.0; ACT_GROUP];
            inputs[..x.len()].copy_from_slice(x);
            dequantize::each::<KIND>(isa, w, first * STEPS + s, |i, w| part = isa.fma(w, isa.float(inputs[i]), part));
        }
        sums = add(sums, part);
    }
    y.store(0, &isa.rows(sums));
}

/// # Safety
/// `decode` does what its type says.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn all_tokens(isa: Avx2, w: &Block, x: Rows, y: &Epilogue, decode: Decode) {
    let (mut sums, mut decoded) = (Sums::new(), [const { MaybeUninit::<Step>::uninit() }; STEPS]);
    let all = w.cols.div_ceil(ACT_GROUP);
    for first in (0..x.count()).step_by(TOKENS) {
        let (w, x) = (&w.at(first), x.some(first, TOKENS.min(x.count() - first)));
        let sums = sums.clear(isa, x.count());
        for s in (0..all).step_by(STEPS) {
            let count = STEPS.min(all - s);
            for (i, step) in decoded[..count].iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { decode(isa, w, s + i, step.as_mut_ptr()) };
            }
            // SAFETY: these have just been decoded.
            let steps = unsafe { core::slice::from_raw_parts(decoded.as_ptr().cast(), count) };
            multiply(isa, steps, x, s * ACT_GROUP, sums);
        }
        for t in 0..x.count() {
            y.store(first + t, &isa.rows(sums[t]));
        }
    }
}

/// Adds what the weights of inputs `first..` add to all tokens' sums.
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply(isa: Avx2, w: &[Step], x: Rows, first: usize, sums: &mut [Sum]) {
    let mut t = 0;
    while t < x.count() {
        t += match x.count() - t {
            1 => tile::<1>(isa, w, x, (t, first), sums),
            2 | 3 => tile::<2>(isa, w, x, (t, first), sums),
            // Six are as many as leave registers for the weights; eight are better done by fours.
            4 | 5 | 8 => tile::<4>(isa, w, x, (t, first), sums),
            _ => six_tokens(isa, w, x, (t, first), sums),
        }
    }
}

/// Tokens `t..t + T`; returns `T`.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<const T: usize>(isa: Avx2, w: &[Step], x: Rows, (t, first): (usize, usize), sums: &mut [Sum]) -> usize {
    let (width, x) = (x.width(), x.tile::<T>(t));
    let Some(sums) = sums[t..].first_chunk_mut::<T>() else { return T };
    let (fours, rest) = w.as_flattened()[..(w.len() * ACT_GROUP).min(width - first)].as_chunks::<4>();
    let mut part = [isa.float(0.0); T];
    for (i, w) in fours.iter().enumerate() {
        let x = x.inputs::<4>(first + 4 * i);
        for j in 0..4 {
            for t in 0..T {
                part[t] = isa.fma(w[j], isa.float(x[t][j]), part[t]);
            }
        }
    }
    for (i, w) in rest.iter().enumerate() {
        let x = x.inputs::<1>(first + 4 * fours.len() + i);
        for t in 0..T {
            part[t] = isa.fma(*w, isa.float(x[t][0]), part[t]);
        }
    }
    for t in 0..T {
        sums[t] = add(sums[t], part[t]);
    }
    T
}

/// As `tile`, in the order that [`six_by_two`] has; the result is the same.
#[target_feature(enable = "avx2,fma,f16c")]
fn six_tokens(isa: Avx2, w: &[Step], x: Rows, (t, first): (usize, usize), sums: &mut [Sum]) -> usize {
    let Some(sums) = sums[t..].first_chunk_mut::<6>() else { return 6 };
    let inputs = (w.len() * ACT_GROUP).min(x.width() - first);
    // SAFETY: vectors are floats.
    let w: &[f32] = unsafe { core::slice::from_raw_parts(w.as_ptr().cast(), inputs * BLOCK_ROWS) };
    let mut part = [isa.float(0.0)[0]; 12];
    let mut rows = [&[][..]; 6];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &x.row(t + i)[first..first + inputs];
    }
    six_by_two::add(&SixByTwo { a: rows, b: [w, &w[BLOCK_ROWS / 2..]], stride: BLOCK_ROWS }, &mut part);
    for (sum, part) in sums.iter_mut().zip(part.as_chunks::<2>().0) {
        *sum = add(*sum, *part);
    }
    6
}
