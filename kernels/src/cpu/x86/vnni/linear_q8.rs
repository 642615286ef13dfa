//! Packed int8 and int4 weights times Q8 activations.
//!
//! Within 32 inputs the products are summed as integers, where I4 rows enter as `q - 8` and I8 rows as they are: the dot product wants
//! unsigned weights, so the sums begin with `-8 * sum(x)` or `-128 * sum(x)`. Then `y += min * (x_scale * sum(x))` for I4Min, and
//! `y += w_scale * (x_scale * sum)`, in f32: the same arithmetic as AVX2's, to the bit.
//! A token's result does not depend on which tokens it is computed with.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::scalar;
use crate::cpu::views::{Epilogue, Q8Rows, Q8Tile};
use crate::layout::{Kind, block_bytes};
use crate::pack::Block;

use super::Rows16;

const I8: u32 = Kind::I8 as u32;
const I4: u32 = Kind::I4 as u32;
const I4MIN: u32 = Kind::I4Min as u32;

/// Dot products of a group of 32 inputs.
const STEPS: usize = ACT_GROUP / 4;

#[inline(always)]
pub fn linear_q8<V: Rows16>(v: V, w: Block, x: Q8Rows, y: Epilogue) {
    match w.kind {
        Kind::I8 => all_tokens::<V, I8>(v, &w, x, &y),
        Kind::I4 => all_tokens::<V, I4>(v, &w, x, &y),
        Kind::I4Min => all_tokens::<V, I4MIN>(v, &w, x, &y),
        _ => scalar::linear::linear_q8(w, x, y),
    }
}

#[inline(always)]
fn all_tokens<V: Rows16, const KIND: u32>(v: V, w: &Block, x: Q8Rows, y: &Epilogue) {
    let mut t = 0;
    while t < x.count() {
        let w = &w.at(t);
        t += match (x.count() - t).min(V::TOKENS) {
            1 => some_tokens::<V, KIND, 1>(v, w, x, y, t),
            2 => some_tokens::<V, KIND, 2>(v, w, x, y, t),
            3 => some_tokens::<V, KIND, 3>(v, w, x, y, t),
            4..8 => some_tokens::<V, KIND, 4>(v, w, x, y, t),
            _ => some_tokens::<V, KIND, 8>(v, w, x, y, t),
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
    let inputs = x.tile::<T>(t);
    let mut sums = [v.float(0.0); T];
    let mut s = 0;
    for group in w.bytes.chunks(block_bytes(w.kind, w.group, w.group)) {
        let (header, data) = group.split_at(header_bytes::<KIND>());
        v.prefetch(w, header);
        let halves = header.as_chunks().0;
        let scales = v.load_f16(&halves[0]);
        for data in data.chunks_exact(data_bytes::<KIND>()) {
            v.prefetch(w, data);
            if KIND == I4MIN {
                let mins = v.load_f16(&halves[1]);
                for i in 0..T {
                    let (_, scale, sum) = inputs.group(i, s);
                    let total = v.mul(v.to_float(v.int(sum)), v.float(scale));
                    sums[i] = v.fma(mins, total, sums[i]);
                }
            }
            let products = dots::<V, KIND, T>(v, data, &inputs, s);
            for i in 0..T {
                let (_, scale, _) = inputs.group(i, s);
                sums[i] = v.fma(v.mul(v.to_float(products[i]), v.float(scale)), scales, sums[i]);
            }
            s += 1;
        }
    }
    for i in 0..T {
        y.store(t + i, &v.rows(sums[i]));
    }
    T
}

/// Bytes of scales and minima, known when the loops below are compiled.
const fn header_bytes<const KIND: u32>() -> usize {
    if KIND == I4MIN { 4 * BLOCK_ROWS } else { 2 * BLOCK_ROWS }
}

/// Bytes of 16 rows × 32 inputs.
const fn data_bytes<const KIND: u32>() -> usize {
    if KIND == I8 { BLOCK_ROWS * ACT_GROUP } else { BLOCK_ROWS * ACT_GROUP / 2 }
}

/// 32 inputs' weights as unsigned bytes.
#[inline(always)]
fn weights<V: Rows16, const KIND: u32>(v: V, data: &[u8]) -> [V::Int; STEPS] {
    let columns = data.as_chunks().0;
    let mut weights = [v.int(0); STEPS];
    for c in 0..columns.len() {
        if KIND == I8 {
            weights[c] = v.unsigned(v.load(&columns[c]));
        } else {
            [weights[2 * c], weights[2 * c + 1]] = v.nibbles(v.load(&columns[c]));
        }
    }
    weights
}

/// Integer sums of group `s`.
#[inline(always)]
fn dots<V: Rows16, const KIND: u32, const T: usize>(v: V, data: &[u8], x: &Q8Tile<T>, s: usize) -> [V::Int; T] {
    let weights = weights::<V, KIND>(v, data);
    let mut sums = [v.int(0); T];
    for i in 0..T {
        let (_, _, sum) = x.group(i, s);
        match KIND {
            I8 => sums[i] = v.minus_shifted::<7>(sum),
            I4 => sums[i] = v.minus_shifted::<3>(sum),
            _ => {}
        }
    }
    for c in 0..STEPS {
        for i in 0..T {
            sums[i] = v.dot(sums[i], weights[c], x.group(i, s).0[c]);
        }
    }
    sums
}
