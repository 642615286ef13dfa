//! Packed weights of any quantized kind times Q8 activations.
//!
//! Where inputs share a scale (all 32 of a step, or 16), the products are summed as integers. Numbers enter the dot product as they are
//! stored, so the sums begin with `-zero * sum(x)`, where `zero` stands for 0. Then with minima `y += min * (x_scale * sum(x))`, and
//! `y += w_scale * (x_scale * sum)`, in f32: the same on every CPU, to the bit.
//! A token's result does not depend on which tokens it is computed with.
//!
//! Functions here are generic, so they carry no `#[target_feature]`: they are always inlined into ones that do.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

use crate::cpu::q8::Q8Group;
use crate::cpu::scalar;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::layout::block_bytes;
use crate::pack::Block;

use super::numbers::{self, COLUMNS, column, each_kind, factor, format};
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
    let mut t = 0;
    while t < x.count() {
        let w = &w.at(t);
        // What no call has is not compiled, of which there would be much.
        t += match x.count() - t {
            1 => some_tokens::<V, KIND, 1>(v, w, x, y, t),
            2 | 3 => some_tokens::<V, KIND, 2>(v, w, x, y, t),
            8.. if const { V::TOKENS >= 8 } => some_tokens::<V, KIND, 8>(v, w, x, y, t),
            _ => some_tokens::<V, KIND, 4>(v, w, x, y, t),
        }
    }
}

/// Tokens `t..t + T`; returns `T`.
#[inline(always)]
fn some_tokens<V: Dot, const KIND: u32, const T: usize>(v: V, w: &Block, x: Q8Rows, y: &Epilogue, t: usize) -> usize {
    let format = const { format::<KIND>() };
    let x = x.tile::<T>(t);
    let mut sums = [v.float(0.0); T];
    let mut s = 0;
    for group in w.bytes.chunks(block_bytes(w.kind, w.group, w.group)) {
        let (header, steps) = group.split_at(format.header_bytes());
        v.prefetch(w, header);
        for step in steps.chunks_exact(format.sub_bytes() + format.number_bytes()) {
            v.prefetch(w, step);
            let (subs, numbers) = step.split_at(format.sub_bytes());
            let inputs = x.groups(s);
            for part in 0..format.parts() {
                some_inputs::<V, KIND, T>(v, (header, subs, numbers), &inputs, part, &mut sums);
            }
            s += 1;
        }
    }
    for i in 0..T {
        y.store(t + i, &v.rows(sums[i]));
    }
    T
}

/// Adds part `part` of a step: inputs that share a scale.
#[inline(always)]
fn some_inputs<V: Dot, const KIND: u32, const T: usize>(
    v: V,
    (header, subs, numbers): (&[u8], &[u8], &[u8]),
    x: &[&Q8Group; T],
    part: usize,
    sums: &mut [V::Float; T],
) {
    let format = const { format::<KIND>() };
    if format.min {
        let min = factor::<V, KIND>(v, header, subs, (1, part));
        for i in 0..T {
            let total = v.to_float(input_sum::<V, KIND, T>(v, x, i, part, 1));
            sums[i] = v.fma(min, v.mul(total, v.float(x[i].scale)), sums[i]);
        }
    }
    let scale = factor::<V, KIND>(v, header, subs, (0, part));
    let products = dots::<V, KIND, T>(v, numbers, x, part);
    for i in 0..T {
        let product = v.mul(v.to_float(products[i]), v.float(x[i].scale));
        sums[i] = v.fma(product, scale, sums[i]);
    }
}

/// Integer sums of a part's weights times inputs.
#[inline(always)]
fn dots<V: Dot, const KIND: u32, const T: usize>(v: V, numbers: &[u8], x: &[&Q8Group; T], part: usize) -> [V::Int; T] {
    let format = const { format::<KIND>() };
    let zero = numbers::zero::<V>(format);
    let mut sums = [v.int(0); T];
    if zero > 0 {
        for i in 0..T {
            sums[i] = input_sum::<V, KIND, T>(v, x, i, part, -(zero as i16));
        }
    }
    let columns = COLUMNS / format.parts();
    for c in part * columns..(part + 1) * columns {
        let w = column::<V, KIND>(v, numbers, c);
        for i in 0..T {
            let x = x[i].four(c);
            sums[i] = v.dot(sums[i], w, x);
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
