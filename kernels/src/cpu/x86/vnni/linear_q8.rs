//! Packed int8 and int4 weights times Q8 activations.
//!
//! Within 32 inputs the products are summed as integers; then `y += w_scale * (x_scale * sum) + min * x_sum` in f32,
//! where an I4 row's `min` is `-8 * w_scale`: the same arithmetic as AVX2's, to the bit. I8 weights enter the dot product
//! as `q + 128`, which is unsigned, so their sums begin with `-128 * sum(x)` and end as they should.
//! A token's result does not depend on which tokens it is computed with.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::q8::Q8Ref;
use crate::cpu::scalar;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::layout::{Kind, block_bytes};
use crate::pack::Block;

use super::Rows16;

const I8: u32 = Kind::I8 as u32;
const I4: u32 = Kind::I4 as u32;
const I4MIN: u32 = Kind::I4Min as u32;

/// Tokens whose dot products run side by side: enough to hide the instruction's latency.
const ABREAST: usize = 8;
/// Dot products of a group of 32 inputs.
const STEPS: usize = ACT_GROUP / 4;
/// Groups whose first sums are made at a time.
const SOME: usize = 16;

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
    let mut inputs = [x.row(t); T];
    for (i, row) in inputs.iter_mut().enumerate() {
        *row = x.row(t + i);
    }
    let mut sums = [v.float(0.0); T];
    let mut firsts = [[0; SOME]; T];
    let mut s = 0;
    for group in w.bytes.chunks(block_bytes(w.kind, w.group, w.group)) {
        let (scales, mins, data) = header::<V, KIND>(v, group);
        for data in data.chunks_exact(data_bytes::<KIND>()) {
            if KIND == I8 && s % SOME == 0 {
                for (firsts, x) in firsts.iter_mut().zip(&inputs) {
                    *firsts = first_sums(v, x, s);
                }
            }
            let weights = weights::<V, KIND>(v, data);
            for a in (0..T).step_by(ABREAST) {
                let products = dots::<V, T>(v, &weights, &inputs, &firsts, s, a);
                for i in a..T.min(a + ABREAST) {
                    if KIND != I8 {
                        sums[i] = v.fma(mins, v.float(inputs[i].sums[s]), sums[i]);
                    }
                    let product = v.mul(v.to_float(products[i - a]), v.float(inputs[i].scales[s]));
                    sums[i] = v.fma(product, scales, sums[i]);
                }
            }
            s += 1;
        }
    }
    for i in 0..T {
        y.store(t + i, &v.rows(sums[i]));
    }
    T
}

/// Bytes of 16 rows × 32 inputs.
const fn data_bytes<const KIND: u32>() -> usize {
    if KIND == I8 { BLOCK_ROWS * ACT_GROUP } else { BLOCK_ROWS * ACT_GROUP / 2 }
}

/// Scales, minima (unused for I8) and the rest of a group.
#[inline(always)]
fn header<V: Rows16, const KIND: u32>(v: V, group: &[u8]) -> (V::Float, V::Float, &[u8]) {
    let halves = group.as_chunks().0;
    let scales = v.load_f16(&halves[0]);
    if KIND == I4MIN {
        (scales, v.load_f16(&halves[1]), &group[64..])
    } else {
        (scales, v.mul(scales, v.float(-8.0)), &group[32..])
    }
}

/// `-128 * sum(x)` of the groups from `s` on. A row holds `scale * sum(x)`, and |sum(x)| <= 4064, so the rounded
/// quotient is the integer.
#[inline(always)]
fn first_sums<V: Rows16>(v: V, x: &Q8Ref, s: usize) -> [i32; SOME] {
    let end = x.scales.len().min(s + SOME);
    v.minus_128_quotients(&x.sums[s..end], &x.scales[s..end])
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

/// Integer sums of group `s` of tokens `a..a + ABREAST`.
#[inline(always)]
fn dots<V: Rows16, const T: usize>(
    v: V,
    weights: &[V::Int; STEPS],
    inputs: &[Q8Ref; T],
    firsts: &[[i32; SOME]; T],
    s: usize,
    a: usize,
) -> [V::Int; ABREAST] {
    let mut sums = [v.int(0); ABREAST];
    let mut parts: [&[[i8; 4]; STEPS]; ABREAST] = [&[[0; 4]; STEPS]; ABREAST];
    for i in a..T.min(a + ABREAST) {
        sums[i - a] = v.int(firsts[i][s % SOME]);
        parts[i - a] = &inputs[i].q.as_chunks().0.as_chunks().0[s];
    }
    for c in 0..STEPS {
        for i in 0..ABREAST.min(T) {
            sums[i] = v.dot(sums[i], weights[c], parts[i][c]);
        }
    }
    sums
}
