//! Packed weights of any quantized kind times Q8 activations.
//!
//! Where inputs share a scale (all 32 of a step, or 16), the products are summed as integers. Numbers enter the dot product as they are
//! stored, so the sums begin with `-zero * sum(x)`, where `zero` stands for 0. Then with minima `y += min * (x_scale * sum(x))`, and
//! `y += w_scale * (x_scale * sum)`, in f32: the same on every CPU, to the bit.
//! A token's result does not depend on which tokens it is computed with.

use crate::cpu::scalar;
use crate::cpu::views::{Epilogue, Q8Rows, Q8Tile};
use crate::layout::{Kind, Values, block_bytes};
use crate::pack::Block;

use super::numbers::{COLUMNS, column, factor, format};
use super::{Rows16, numbers};

/// Calls `run` for the block's kind.
pub fn linear_q8<V: Rows16>(v: V, w: Block, x: Q8Rows, y: Epilogue) {
    macro_rules! kinds {
        ($($kind:ident)*) => {
            match w.kind {
                $(Kind::$kind => v.run::<{ Kind::$kind as u32 }>(&w, x, &y),)*
                Kind::F32 | Kind::F16 | Kind::Bf16 => scalar::linear::linear_q8(w, x, y),
            }
        };
    }
    kinds!(I8 I4 I4Min I2 I3 I5 I6 I2Min I3Min I5Min I6Min I8Min K2 K3 K4 K5 K6 N2 N3 N4)
}

#[inline(always)]
pub fn all_tokens<V: Rows16, const KIND: u32>(v: V, w: &Block, x: Q8Rows, y: &Epilogue) {
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
fn some_tokens<V: Rows16, const KIND: u32, const T: usize>(
    v: V,
    w: &Block,
    x: Q8Rows,
    y: &Epilogue,
    t: usize,
) -> usize {
    let format = const { format::<KIND>() };
    let inputs = x.tile::<T>(t);
    let mut sums = [v.float(0.0); T];
    let mut s = 0;
    for group in w.bytes.chunks(block_bytes(w.kind, w.group, w.group)) {
        let (header, steps) = group.split_at(format.header_bytes());
        v.prefetch(w, header);
        for step in steps.chunks_exact(format.sub_bytes() + format.number_bytes()) {
            v.prefetch(w, step);
            let (subs, numbers) = step.split_at(format.sub_bytes());
            for part in 0..format.parts() {
                some_inputs::<V, KIND, T>(v, (header, subs, numbers), &inputs, (s, part), &mut sums);
            }
            s += 1;
        }
    }
    for i in 0..T {
        y.store(t + i, &v.rows(sums[i]));
    }
    T
}

/// Adds part `part` of step `s`: inputs that share a scale.
#[inline(always)]
fn some_inputs<V: Rows16, const KIND: u32, const T: usize>(
    v: V,
    (header, subs, numbers): (&[u8], &[u8], &[u8]),
    x: &Q8Tile<T>,
    (s, part): (usize, usize),
    sums: &mut [V::Float; T],
) {
    let format = const { format::<KIND>() };
    if format.min {
        let min = factor::<V, KIND>(v, header, subs, (1, part));
        for i in 0..T {
            let total = v.to_float(input_sum::<V, KIND, T>(v, x, i, (s, part), 1));
            sums[i] = v.fma(min, v.mul(total, v.float(x.group(i, s).1)), sums[i]);
        }
    }
    let scale = factor::<V, KIND>(v, header, subs, (0, part));
    let products = dots::<V, KIND, T>(v, numbers, x, (s, part));
    for i in 0..T {
        let product = v.mul(v.to_float(products[i]), v.float(x.group(i, s).1));
        sums[i] = v.fma(product, scale, sums[i]);
    }
}

/// Integer sums of a part's weights times inputs.
#[inline(always)]
fn dots<V: Rows16, const KIND: u32, const T: usize>(
    v: V,
    numbers: &[u8],
    x: &Q8Tile<T>,
    (s, part): (usize, usize),
) -> [V::Int; T] {
    let format = const { format::<KIND>() };
    let zero = numbers::zero::<V>(format);
    let mut sums = [v.int(0); T];
    if zero > 0 {
        for i in 0..T {
            sums[i] = input_sum::<V, KIND, T>(v, x, i, (s, part), -(zero as i16));
        }
    }
    let columns = COLUMNS / format.parts();
    for c in part * columns..(part + 1) * columns {
        let w = column::<V, KIND>(v, numbers, c);
        for i in 0..T {
            let x = x.group(i, s).0[c];
            sums[i] = match format.values {
                Values::From { .. } => v.dot(sums[i], w, x),
                Values::Signed | Values::Table(_) => v.dot_bytes(sums[i], w, x),
            };
        }
    }
    sums
}

/// `factor` times the sum of a part's inputs of token `i`.
#[inline(always)]
fn input_sum<V: Rows16, const KIND: u32, const T: usize>(
    v: V,
    x: &Q8Tile<T>,
    i: usize,
    (s, part): (usize, usize),
    factor: i16,
) -> V::Int {
    let format = const { format::<KIND>() };
    let factors = match (format.parts(), part) {
        (1, _) => [factor, factor],
        (_, 0) => [factor, 0],
        _ => [0, factor],
    };
    v.weighted_sum(x.group(i, s).2, factors)
}
