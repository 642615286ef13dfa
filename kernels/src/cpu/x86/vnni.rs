//! Packed weights of any quantized kind times Q8 activations.
//!
//! Where inputs share a scale (all 32 of a step, or 16), the products are summed as integers. Numbers enter the dot product as they are
//! stored, so the sums begin with `-zero * sum(x)`, where `zero` stands for 0. Then with minima `y += min * (x_scale * sum(x))`, and
//! `y += w_scale * (x_scale * sum)`, in f32: the same on every CPU, to the bit.
//! A token's result does not depend on which tokens it is computed with.
//!
//! Functions here are generic, so they carry no `#[target_feature]`: they are always inlined into ones that do.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

use crate::abi::ACT_GROUP;
use crate::cpu::q8::Q8Group;
use crate::cpu::scalar;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::pack::{Block, NOTHING};

use super::numbers::{self, COLUMNS, Numbers, each_kind, factor, format};
use super::rows::Rows16;

/// A dot product of bytes, unsigned by signed.
pub trait Dot: Rows16 {
    /// Tokens that share a decoding of the weights: as many as leave registers for these.
    const TOKENS: usize;

    /// `all_tokens`, compiled for this CPU.
    fn run<const KIND: u32>(self, w: &Block, x: Q8Rows, y: &Epilogue);

    /// `sums + w · x` over each row's four bytes; `w` is unsigned, `x` signed and the same for all rows.
    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int;
}

/// Calls `run` for the block's kind.
pub fn linear_q8<V: Dot>(v: V, w: Block, x: Q8Rows, y: Epilogue) {
    each_kind!(w.kind, KIND => v.run::<KIND>(&w, x, &y), float => scalar::linear::linear_q8(w, x, y));
}

#[inline(always)]
pub fn all_tokens<V: Dot, const KIND: u32>(v: V, w: &Block, x: Q8Rows, y: &Epilogue) {
    tokens_from::<V, KIND>(v, w, x, y, 0);
}

/// Tokens that two blocks are multiplied by together, as many as leave registers for their sums: an input that is loaded serves both, which
/// a core that multiplies as fast as it loads is glad of.
const TOGETHER: usize = 6;
/// Fewer tokens wait for weights, which two streams do not bring faster.
pub const MANY: usize = 2 * TOGETHER;

/// As [`all_tokens`], for two blocks.
#[inline(always)]
pub fn two_blocks<V: Dot, const KIND: u32>(v: V, w: [&Block; 2], x: Q8Rows, y: [&Epilogue; 2]) {
    let mut t = 0;
    while x.count() - t >= TOGETHER {
        t += some_tokens::<V, KIND, 2, TOGETHER>(v, [&w[0].at(t), &w[1].at(t)], x, y, t);
    }
    for b in 0..2 {
        tokens_from::<V, KIND>(v, w[b], x, y[b], t);
    }
}

/// Tokens `t..`.
#[inline(always)]
fn tokens_from<V: Dot, const KIND: u32>(v: V, w: &Block, x: Q8Rows, y: &Epilogue, mut t: usize) {
    while t < x.count() {
        let w = &w.at(t);
        // What no call has is not compiled, of which there would be much.
        t += match x.count() - t {
            1 => some_tokens::<V, KIND, 1, 1>(v, [w], x, [y], t),
            2 | 3 => some_tokens::<V, KIND, 1, 2>(v, [w], x, [y], t),
            8.. if const { V::TOKENS >= 8 } => some_tokens::<V, KIND, 1, 8>(v, [w], x, [y], t),
            _ => some_tokens::<V, KIND, 1, 4>(v, [w], x, [y], t),
        }
    }
}

/// Tokens `t..t + T` times `B` blocks; returns `T`.
#[inline(always)]
fn some_tokens<V: Dot, const KIND: u32, const B: usize, const T: usize>(
    v: V,
    w: [&Block; B],
    x: Q8Rows,
    y: [&Epilogue; B],
    t: usize,
) -> usize {
    let format = const { format::<KIND>() };
    let x = x.tile::<T>(t);
    let mut sums = [[v.float(0.0); T]; B];
    let (mut s, mut before) = (0, [&NOTHING; B]);
    let size = format.sub_bytes() + format.number_bytes();
    let group_bytes = format.header_bytes() + w[0].group / ACT_GROUP * size;
    let mut begin = 0;
    while begin < w[0].bytes.len() {
        let mut headers = [&[][..]; B];
        for b in 0..B {
            headers[b] = &w[b].bytes[begin..][..format.header_bytes()];
            v.prefetch(w[b], headers[b]);
        }
        let end = w[0].bytes.len().min(begin + group_bytes);
        for at in (begin + format.header_bytes()..end).step_by(size) {
            let inputs = x.groups(s);
            let mut parts = [Part { header: &[], subs: &[], numbers: Numbers::of(v, &NOTHING, &NOTHING) }; B];
            for b in 0..B {
                let step = &w[b].bytes[at..][..size];
                v.prefetch(w[b], step);
                let (subs, bytes) = step.split_at(format.sub_bytes());
                parts[b] = Part { header: headers[b], subs, numbers: Numbers::of(v, bytes, before[b]) };
                before[b] = bytes.first_chunk().unwrap_or(&NOTHING);
            }
            for part in 0..format.parts() {
                some_inputs::<V, KIND, B, T>(v, &parts, &inputs, part, &mut sums);
            }
            s += 1;
        }
        begin = end;
    }
    for b in 0..B {
        for i in 0..T {
            y[b].store(t + i, &v.rows(sums[b][i]));
        }
    }
    T
}

/// A step of a block.
#[derive(Clone, Copy)]
struct Part<'a, V: Rows16, const KIND: u32> {
    header: &'a [u8],
    subs: &'a [u8],
    numbers: Numbers<'a, V, KIND>,
}

/// Adds part `part` of a step: inputs that share a scale.
#[inline(always)]
fn some_inputs<V: Dot, const KIND: u32, const B: usize, const T: usize>(
    v: V,
    w: &[Part<V, KIND>; B],
    x: &[&Q8Group; T],
    part: usize,
    sums: &mut [[V::Float; T]; B],
) {
    let format = const { format::<KIND>() };
    if format.min {
        for b in 0..B {
            let min = factor::<V, KIND>(v, w[b].header, w[b].subs, (1, part));
            for i in 0..T {
                let total = v.to_float(input_sum::<V, KIND, T>(v, x, i, part, 1));
                sums[b][i] = v.fma(min, v.mul(total, v.float(x[i].scale)), sums[b][i]);
            }
        }
    }
    let products = dots::<V, KIND, B, T>(v, w, x, part);
    for b in 0..B {
        let scale = factor::<V, KIND>(v, w[b].header, w[b].subs, (0, part));
        for i in 0..T {
            let product = v.mul(v.to_float(products[b][i]), v.float(x[i].scale));
            sums[b][i] = v.fma(product, scale, sums[b][i]);
        }
    }
}

/// Integer sums of a part's weights times inputs.
#[inline(always)]
fn dots<V: Dot, const KIND: u32, const B: usize, const T: usize>(
    v: V,
    w: &[Part<V, KIND>; B],
    x: &[&Q8Group; T],
    part: usize,
) -> [[V::Int; T]; B] {
    let format = const { format::<KIND>() };
    let zero = numbers::zero::<V>(format);
    let mut sums = [[v.int(0); T]; B];
    if zero > 0 {
        for i in 0..T {
            let sum = input_sum::<V, KIND, T>(v, x, i, part, -(zero as i16));
            for b in 0..B {
                sums[b][i] = sum;
            }
        }
    }
    let columns = COLUMNS / format.parts();
    for c in part * columns..(part + 1) * columns {
        let mut columns = [v.int(0); B];
        for b in 0..B {
            columns[b] = w[b].numbers.column(v, c);
        }
        for i in 0..T {
            let x = x[i].four(c);
            for b in 0..B {
                sums[b][i] = v.dot(sums[b][i], columns[b], x);
            }
        }
    }
    sums
}

/// `factor` times the sum of a part's inputs of token `i`.
#[inline(always)]
fn input_sum<V: Dot, const KIND: u32, const T: usize>(
    v: V,
    x: &[&Q8Group; T],
    i: usize,
    part: usize,
    factor: i16,
) -> V::Int {
    let format = const { format::<KIND>() };
    let [first, last] = x[i].sums;
    match (format.parts(), part) {
        // Where dot products bound the time, one more multiplication in vectors would be felt, and these are none.
        (1, _) if T > 2 => v.int((i32::from(first) + i32::from(last)) * i32::from(factor)),
        (1, _) => v.weighted_sum([first, last], [factor, factor]),
        (_, 0) => v.weighted_sum([first, last], [factor, 0]),
        _ => v.weighted_sum([first, last], [0, factor]),
    }
}
