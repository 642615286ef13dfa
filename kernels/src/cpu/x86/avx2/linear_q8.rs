//! Packed weights of any quantized kind times Q8 activations, without a dot product of bytes: `maddubs` multiplies unsigned bytes by
//! signed ones and adds pairs in 16 bits. The result is `vnni`'s, to the bit.
//!
//! For several tokens, some steps of a block at a time become bytes, and all tokens pass by while these lie in the first cache. One or
//! two tokens' weights stay in registers.

use core::arch::x86_64::*;
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::abi::ACT_GROUP;
use crate::cpu::q8::Q8Group;
use crate::cpu::scalar;
use crate::cpu::views::{Epilogue, Q8Rows, Q8Tile};
use crate::cpu::x86::numbers::{self, COLUMNS, Numbers, VECTOR, each_column, each_kind, factor, usual};
use crate::cpu::x86::rows::{Rows16, pair};
use crate::cpu::x86::steps::{self, Decode, Decoded, Decoder, Step, Steps};
use crate::cpu::x86::{STREAMS, in_streams, prefetch, prefetch_stream};
use crate::layout::{Format, Values};
use crate::pack::{Block, Blocks, NOTHING};

use super::Avx2;
use super::quads;
use super::small;
use super::sums::{Sum, Sums, TOKENS};

/// Steps that are decoded at a time: 12 KB.
const STEPS: usize = 16;

type Int = <Avx2 as Rows16>::Int;
type Float = <Avx2 as Rows16>::Float;

/// Numbers of up to 4 bits: a step's sums fit 16 bits. A lane begins with `-8` times the sum of 16 inputs, of which 8 are among the 16 whose
/// products it gets: 8 · 8 · 127 + 8 · 15 · 127 + 8 · 8 · 127 = 31496 at most in the end, and what overflows on the way comes back.
const SMALL: u32 = 0;
/// Numbers of up to 6 bits: two pairs' products fit, 4 · 63 · 127 = 32004.
const MIDDLE: u32 = 1;
/// Signed bytes: one pair's products fit, 2 · 128 · 127 = 32512. `maddubs` gets |w|, and x with w's sign.
const BYTES: u32 = 2;

/// Numbers of up to 7 bits: one pair's products fit, 2 · 127 · 127 = 32258, and there are no signs to look at.
const LARGE: u32 = 3;

const fn class(format: Format) -> u32 {
    match format.values {
        Values::Signed | Values::Table(_) => BYTES,
        Values::Trellis(_) => LARGE,
        Values::From { .. } if format.bits <= 4 => SMALL,
        Values::From { .. } => MIDDLE,
    }
}

pub fn linear_q8(isa: Avx2, w: Block, x: Q8Rows, y: Epilogue) {
    // SAFETY: a value of `Avx2` proves that the CPU has the features.
    each_kind!(w.kind, KIND => unsafe {
        match x.count() {
            1 if const { usual(KIND) } => few_tokens::<KIND, 1>(isa, &w, x.tile(0), &y),
            2 if const { usual(KIND) } => few_tokens::<KIND, 2>(isa, &w, x.tile(0), &y),
            // The second token finds the weights in a cache.
            count @ ..=2 => (0..count).for_each(|t| some_blocks(isa, &[w.at(t)], x, t, |_| y)),
            // A known function would be reason enough for the compiler to make a copy of what calls it for each kind.
            ..=quads::TOKENS if const { quads::takes(KIND) } => {
                quads::some_tokens(isa, &w, x, &y, black_box(quads::unpack_scales::<KIND>));
            }
            _ => all_tokens(isa, &w, x, &y, const { numbers::format::<KIND>() }, black_box(decode::<KIND>)),
        }
    }, float => scalar::linear::linear_q8(w, x, y));
}

/// Some blocks of a matrix; block `i` has the outputs `y(i)`.
pub fn linear_q8_blocks(isa: Avx2, blocks: Blocks, x: Q8Rows, y: &dyn Fn(usize) -> Epilogue) {
    if x.count() > 1 || !in_streams(&blocks) || !blocks.kind().is_quantized() {
        return blocks.enumerate().for_each(|(i, w)| linear_q8(isa, w, x, y(i)));
    }
    // SAFETY: a value of `Avx2` proves that the CPU has the features.
    unsafe { streams(isa, &blocks, x, y) }
}

/// One token. All that is done between blocks is compiled for vectors: meanwhile nothing is asked of memory.
#[target_feature(enable = "avx2,fma,f16c")]
fn streams(isa: Avx2, blocks: &Blocks, x: Q8Rows, y: &dyn Fn(usize) -> Epilogue) {
    for (numbers, count) in blocks.in_streams::<STREAMS>() {
        let w = numbers.map(|i| blocks.get(i));
        some_blocks(isa, &w[..count], x, 0, |b| y(numbers[b]));
    }
}

/// Token `t` times up to `STREAMS` blocks; block `b` of these has the outputs `y(b)`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn some_blocks(isa: Avx2, w: &[Block], x: Q8Rows, t: usize, y: impl Fn(usize) -> Epilogue) {
    let sums = each_kind!(w[0].kind, KIND => steps_in_turn::<KIND>(isa, w, x.tile(t)), float => return);
    for b in 0..w.len() {
        y(b).store(t, &isa.rows(sums[b][0]));
    }
}

/// The same for one token. The usual kinds have code of their own for narrow blocks.
pub fn one_token(isa: Avx2, blocks: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
    if in_streams(&blocks) {
        return linear_q8_blocks(isa, blocks, x, &y);
    }
    each_kind!(blocks.kind(), KIND => if const { usual(KIND) } {
        // SAFETY: a value of `Avx2` proves that the CPU has the features.
        return unsafe { narrow_blocks::<KIND>(isa, blocks, x.tile(0), y) };
    }, float => {});
    blocks.enumerate().for_each(|(i, w)| linear_q8(isa, w, x, y(i)));
}

/// Weights by columns of four inputs × 16 rows.
trait Columns {
    /// Whether columns are known where they are made, so that it takes code for each; else it takes a loop.
    const EACH: bool;

    /// # Safety
    /// `c` is below `COLUMNS`.
    unsafe fn column(&self, isa: Avx2, c: usize) -> Int;
}

impl<const KIND: u32> Columns for Numbers<'_, Avx2, KIND> {
    const EACH: bool = true;

    #[inline(always)]
    unsafe fn column(&self, isa: Avx2, c: usize) -> Int {
        Numbers::column(self, isa, c)
    }
}

impl Columns for Step<Avx2> {
    const EACH: bool = false;

    #[inline(always)]
    unsafe fn column(&self, _: Avx2, c: usize) -> Int {
        // SAFETY: the caller's promise.
        unsafe { *self.columns.get_unchecked(c) }
    }
}

/// `$body` for every `$together`th of some columns, in a loop or for each on its own.
macro_rules! some_columns {
    ($W:ident, $columns:ident, $together:ident, $c:ident => $body:block) => {
        if const { $W::EACH } {
            each_column!($c => {
                if $c % $together == 0 && $columns.contains(&$c) $body
            });
        } else {
            for $c in $columns.step_by($together) $body
        }
    };
}

/// What a kind's steps need: how their products are summed, the parts with a scale of their own, whether there are minima, and the number
/// that stands for 0.
#[derive(Clone, Copy)]
struct Shape {
    class: u32,
    parts: usize,
    min: bool,
    zero: i16,
}

impl Shape {
    const fn of(format: Format) -> Shape {
        let zero = numbers::zero::<Avx2>(format) as i16;
        Shape { class: class(format), parts: format.parts(), min: format.min, zero }
    }
}

/// Columns of one of `parts` parts.
const fn columns(parts: usize, part: usize) -> Range<usize> {
    let each = COLUMNS / parts;
    part * each..(part + 1) * each
}

/// `factor` times what picks the sum of a part's inputs out of a group's two sums.
const fn pick(parts: usize, part: usize, factor: i16) -> [i16; 2] {
    match (parts, part) {
        (1, _) => [factor, factor],
        (_, 0) => [factor, 0],
        _ => [0, factor],
    }
}

/// Integer sums of a part's weights times inputs.
#[inline(always)]
fn products<W: Columns, const CLASS: u32, const T: usize>(
    isa: Avx2,
    w: &W,
    columns: Range<usize>,
    excess: [i16; 2],
    x: [&Q8Group; T],
) -> [Int; T] {
    match CLASS {
        SMALL => small(isa, w, columns, excess, x),
        MIDDLE => pairs::<_, 2, T>(isa, w, columns, excess, x),
        LARGE => pairs::<_, 1, T>(isa, w, columns, excess, x),
        _ => bytes(isa, w, columns, x),
    }
}

#[inline(always)]
fn small<W: Columns, const T: usize>(
    isa: Avx2,
    w: &W,
    columns: Range<usize>,
    excess: [i16; 2],
    x: [&Q8Group; T],
) -> [Int; T] {
    let mut sums = [isa.int(0); T];
    // SAFETY: a value of `Avx2` proves that the CPU has the features; parts have columns below `COLUMNS`.
    unsafe {
        for t in 0..T {
            sums[t] = [_mm256_mullo_epi16(_mm256_set1_epi32(pair(x[t].sums)), _mm256_set1_epi32(pair(excess))); 2];
        }
        for c in columns {
            let w = w.column(isa, c);
            for t in 0..T {
                let x = four(x[t], c);
                for h in 0..2 {
                    sums[t][h] = _mm256_add_epi16(sums[t][h], _mm256_maddubs_epi16(w[h], x));
                }
            }
        }
        for sum in sums.as_flattened_mut() {
            *sum = _mm256_madd_epi16(*sum, _mm256_set1_epi16(1));
        }
    }
    sums
}

/// `TOGETHER` columns' pairs of products fit 16 bits.
#[inline(always)]
fn pairs<W: Columns, const TOGETHER: usize, const T: usize>(
    isa: Avx2,
    w: &W,
    columns: Range<usize>,
    excess: [i16; 2],
    x: [&Q8Group; T],
) -> [Int; T] {
    let mut sums = [isa.int(0); T];
    // SAFETY: a value of `Avx2` proves that the CPU has the features; parts have columns below `COLUMNS`, by whole `TOGETHER`.
    unsafe {
        for t in 0..T {
            sums[t] = [_mm256_madd_epi16(_mm256_set1_epi32(pair(x[t].sums)), _mm256_set1_epi32(pair(excess))); 2];
        }
        some_columns!(W, columns, TOGETHER, c => {
            let mut weights = [isa.int(0); TOGETHER];
            for i in 0..TOGETHER {
                weights[i] = w.column(isa, c + i);
            }
            for t in 0..T {
                for h in 0..2 {
                    let mut pairs = _mm256_maddubs_epi16(weights[0][h], four(x[t], c));
                    for i in 1..TOGETHER {
                        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(weights[i][h], four(x[t], c + i)));
                    }
                    sums[t][h] = _mm256_add_epi32(sums[t][h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                }
            }
        });
    }
    sums
}

#[inline(always)]
fn bytes<W: Columns, const T: usize>(isa: Avx2, w: &W, columns: Range<usize>, x: [&Q8Group; T]) -> [Int; T] {
    let mut sums = [isa.int(0); T];
    // SAFETY: a value of `Avx2` proves that the CPU has the features; parts have columns below `COLUMNS`.
    unsafe {
        for c in columns {
            let w = w.column(isa, c);
            let mut inputs = [_mm256_setzero_si256(); T];
            for t in 0..T {
                inputs[t] = four(x[t], c);
            }
            for h in 0..2 {
                let magnitude = _mm256_abs_epi8(w[h]);
                for t in 0..T {
                    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(inputs[t], w[h]));
                    sums[t][h] = _mm256_add_epi32(sums[t][h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                }
            }
        }
    }
    sums
}

/// Inputs `4 c..4 c + 4`, for each row.
///
/// # Safety
/// The CPU has the features of `Avx2`, and `c` is below `COLUMNS`.
#[inline(always)]
unsafe fn four(x: &Q8Group, c: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_set1_epi32(x.q.as_ptr().cast::<i32>().add(c).read_unaligned()) }
}

/// Adds a part's sums: `min * (x_scale * sum(x))`, then `scale * (x_scale * products)`.
#[inline(always)]
fn add<const T: usize>(
    isa: Avx2,
    products: [Int; T],
    (scale, min): (Float, Option<Float>),
    pick: [i16; 2],
    x: [&Q8Group; T],
    sums: &mut [Float; T],
) {
    if let Some(min) = min {
        add_min(isa, min, pick, x, sums);
    }
    for t in 0..T {
        sums[t] = isa.fma(isa.mul(isa.to_float(products[t]), isa.float(x[t].scale)), scale, sums[t]);
    }
}

#[inline(always)]
pub fn add_min<const T: usize>(isa: Avx2, min: Float, pick: [i16; 2], x: [&Q8Group; T], sums: &mut [Float; T]) {
    for t in 0..T {
        let total = isa.to_float(isa.weighted_sum(x[t].sums, pick));
        sums[t] = isa.fma(min, isa.mul(total, isa.float(x[t].scale)), sums[t]);
    }
}

/// `T` tokens. (Given all rows, the compiler would copy their four words, two at once, before the stores of each had come through.)
#[target_feature(enable = "avx2,fma,f16c")]
fn few_tokens<const KIND: u32, const T: usize>(isa: Avx2, w: &Block, x: Q8Tile<T>, y: &Epilogue) {
    let sums = sums::<KIND, T>(isa, w, x);
    for t in 0..T {
        y.store(t, &isa.rows(sums[t]));
    }
}

/// A block's sums for `T` rows of `x`.
#[inline(always)]
fn sums<const KIND: u32, const T: usize>(isa: Avx2, w: &Block, x: Q8Tile<T>) -> [Float; T] {
    let format = const { numbers::format::<KIND>() };
    let mut sums = [isa.float(0.0); T];
    let mut s = 0;
    let step_bytes = format.sub_bytes() + format.number_bytes();
    let mut before = &NOTHING;
    for group in w.bytes.chunks(format.header_bytes() + w.group / ACT_GROUP * step_bytes) {
        // A length that the compiler knows.
        let (header, steps) = group.split_at(format.header_bytes());
        prefetch(w, header);
        for step in steps.chunks_exact(step_bytes) {
            prefetch(w, step);
            add_step::<KIND, T>(isa, header, step, &mut before, x.groups(s), &mut sums);
            s += 1;
        }
    }
    sums
}

#[target_feature(enable = "avx2,fma,f16c")]
fn narrow_blocks<const KIND: u32>(isa: Avx2, blocks: Blocks, x: Q8Tile<1>, y: impl Fn(usize) -> Epilogue) {
    for (i, w) in blocks.enumerate() {
        let [sums] = sums::<KIND, 1>(isa, &w, x);
        y(i).store(0, &isa.rows(sums));
    }
}

/// The sums of up to `STREAMS` blocks, a step of each in turn.
#[target_feature(enable = "avx2,fma,f16c")]
fn steps_in_turn<const KIND: u32>(isa: Avx2, blocks: &[Block], x: Q8Tile<1>) -> [[Float; 1]; STREAMS] {
    let format = const { numbers::format::<KIND>() };
    let (header_bytes, size) = (format.header_bytes(), format.sub_bytes() + format.number_bytes());
    let (group_bytes, all) = (header_bytes + blocks[0].group / ACT_GROUP * size, blocks[0].bytes.len());
    let mut sums = [[isa.float(0.0)]; STREAMS];
    let (mut s, mut begin, mut before) = (0, 0, [&NOTHING; STREAMS]);
    while begin < all {
        let end = all.min(begin + group_bytes);
        for at in (begin + header_bytes..end).step_by(size) {
            for (w, (before, sums)) in blocks.iter().zip(before.iter_mut().zip(&mut sums)) {
                let (header, step) = (&w.bytes[begin..][..header_bytes], &w.bytes[at..][..size]);
                // With as much as a header before it, which it may be the first after.
                prefetch_stream(w, step.as_ptr().wrapping_sub(header_bytes), header_bytes + size);
                add_step::<KIND, 1>(isa, header, step, before, x.groups(s), sums);
            }
            s += 1;
        }
        begin = end;
    }
    sums
}

/// Adds what a step adds to the sums; `before` is the first plane of the step before.
#[inline(always)]
fn add_step<'a, const KIND: u32, const T: usize>(
    isa: Avx2,
    header: &[u8],
    step: &'a [u8],
    before: &mut &'a [u8; VECTOR],
    x: [&Q8Group; T],
    sums: &mut [Float; T],
) {
    let format = const { numbers::format::<KIND>() };
    let Shape { class, parts, min, zero } = const { Shape::of(numbers::format::<KIND>()) };
    let (subs, numbers) = step.split_at(format.sub_bytes());
    let w = Numbers::<Avx2, KIND>::of(isa, numbers, before);
    if format.has_trellis() {
        *before = numbers.first_chunk().unwrap_or(&NOTHING);
    }
    for part in 0..parts {
        let (columns, excess) = (columns(parts, part), pick(parts, part, -zero));
        let products = match class {
            SMALL => products::<_, SMALL, T>(isa, &w, columns, excess, x),
            MIDDLE => products::<_, MIDDLE, T>(isa, &w, columns, excess, x),
            LARGE => products::<_, LARGE, T>(isa, &w, columns, excess, x),
            _ => products::<_, BYTES, T>(isa, &w, columns, excess, x),
        };
        let min = if min { Some(factor::<Avx2, KIND>(isa, header, subs, (1, part))) } else { None };
        let scale = factor::<Avx2, KIND>(isa, header, subs, (0, part));
        add(isa, products, (scale, min), pick(parts, part, 1), x, sums);
    }
}

/// # Safety
/// `decode` does what its type says.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn all_tokens(isa: Avx2, w: &Block, x: Q8Rows, y: &Epilogue, format: Format, decode: Decode<Avx2>) {
    let (mut sums, mut decoded) = (Sums::new(), [const { MaybeUninit::<Step<Avx2>>::uninit() }; STEPS]);
    for first in (0..x.count()).step_by(TOKENS) {
        let (w, x) = (&w.at(first), x.some(first, TOKENS.min(x.count() - first)));
        let sums = sums.clear(isa, x.count());
        // SAFETY: the caller's promise.
        let mut decoder = unsafe { Decoder::new(w, decode) };
        while let Some(steps) = decoder.next(isa, &mut decoded) {
            multiply(isa, &steps, Shape::of(format), x, &y.from(first), sums);
        }
        for t in 0..x.count() {
            y.store(first + t, &isa.rows(sums[t]));
        }
    }
}

/// # Safety
/// `steps` are a block's of this kind.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn decode<const KIND: u32>(isa: Avx2, steps: &mut Steps, out: &mut [MaybeUninit<Step<Avx2>>]) -> usize {
    // SAFETY: `each` gives places in `out`.
    steps.each::<KIND, _>(out, |step, out| unsafe { steps::decode::<Avx2, KIND>(isa, step, out) })
}

/// Adds what these steps add to all tokens' sums.
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply(isa: Avx2, w: &Decoded<Step<Avx2>>, shape: Shape, x: Q8Rows, y: &Epilogue, sums: &mut [Sum]) {
    let zero = shape.zero;
    match shape {
        Shape { class: SMALL, parts: 1, min: false, .. } => tiles::<SMALL, 1, false>(isa, w, zero, x, y, sums),
        Shape { class: SMALL, parts: 1, min: true, .. } => tiles::<SMALL, 1, true>(isa, w, zero, x, y, sums),
        Shape { class: SMALL, min: false, .. } => tiles::<SMALL, 2, false>(isa, w, zero, x, y, sums),
        Shape { class: SMALL, min: true, .. } => tiles::<SMALL, 2, true>(isa, w, zero, x, y, sums),
        Shape { class: MIDDLE, parts: 1, min: false, .. } => tiles::<MIDDLE, 1, false>(isa, w, zero, x, y, sums),
        Shape { class: MIDDLE, parts: 1, min: true, .. } => tiles::<MIDDLE, 1, true>(isa, w, zero, x, y, sums),
        Shape { class: MIDDLE, .. } => tiles::<MIDDLE, 2, false>(isa, w, zero, x, y, sums),
        Shape { class: LARGE, .. } => tiles::<LARGE, 1, false>(isa, w, zero, x, y, sums),
        Shape { min: false, .. } => tiles::<BYTES, 1, false>(isa, w, zero, x, y, sums),
        Shape { min: true, .. } => tiles::<BYTES, 1, true>(isa, w, zero, x, y, sums),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn tiles<const CLASS: u32, const PARTS: usize, const MIN: bool>(
    isa: Avx2,
    w: &Decoded<Step<Avx2>>,
    zero: i16,
    x: Q8Rows,
    y: &Epilogue,
    sums: &mut [Sum],
) {
    let mut t = 0;
    while t < x.count() {
        if w.first == 0 {
            y.prefetch(t..x.count().min(t + 6));
        }
        t += match x.count() - t {
            1 => tile::<CLASS, PARTS, MIN, 1>(isa, w, zero, x, t, sums),
            2 | 3 => tile::<CLASS, PARTS, MIN, 2>(isa, w, zero, x, t, sums),
            // Eight are better done by fours.
            6 | 7 | 9.. if CLASS == SMALL && PARTS == 1 => small::six_tokens(isa, w, (zero, MIN), x, t, sums),
            6 | 7 | 9.. if CLASS == SMALL => tile::<CLASS, PARTS, MIN, 6>(isa, w, zero, x, t, sums),
            _ => tile::<CLASS, PARTS, MIN, 4>(isa, w, zero, x, t, sums),
        }
    }
}

/// Tokens `t..t + T`; returns `T`.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<const CLASS: u32, const PARTS: usize, const MIN: bool, const T: usize>(
    isa: Avx2,
    w: &Decoded<Step<Avx2>>,
    zero: i16,
    x: Q8Rows,
    t: usize,
    sums: &mut [Sum],
) -> usize {
    let x = x.tile::<T>(t);
    let Some(mut sums) = sums[t..].first_chunk_mut::<T>() else { return T };
    let mut ahead = w.ahead.in_parts(if t == 0 { w.steps.len() } else { 0 });
    for (s, step) in w.steps.iter().enumerate() {
        ahead.next();
        let groups = x.groups(w.first + s);
        for part in 0..PARTS {
            // Columns unrolled would be interleaved, for which there are too few registers.
            let columns = black_box(columns(PARTS, part));
            let products = products::<_, CLASS, T>(isa, step, columns, pick(PARTS, part, -zero), groups);
            let min = if MIN { Some(step.mins[part]) } else { None };
            // Until here the sums stay in memory: in registers they would take the place of the products.
            sums = black_box(sums);
            add(isa, products, (step.scales[part], min), pick(PARTS, part, 1), groups, sums);
        }
    }
    T
}
