//! RMS norm and quantization of activations.

use core::arch::aarch64::*;

use crate::abi::ACT_GROUP;
use crate::cpu::q8::{GroupMut, GroupsMut, Q8Group, inverse_scale};

use super::lanes::{load, load_partial, store};

/// A group of activations.
type Group = [float32x4_t; ACT_GROUP / 4];

/// `1 / sqrt(mean(x^2) + eps)`, summed in 8 × 4 lanes.
#[target_feature(enable = "neon")]
pub fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); ACT_GROUP / 4];
    for group in x.chunks(ACT_GROUP) {
        for (sum, x) in sums.iter_mut().zip(load_group(group)) {
            *sum = vfmaq_f32(*sum, x, x);
        }
    }
    let total = sums.into_iter().reduce(|a, b| vaddq_f32(a, b)).map_or(0.0, |sum| vaddvq_f32(sum));
    1.0 / (total / x.len() as f32 + eps).sqrt()
}

#[target_feature(enable = "neon")]
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let inverse = inverse_rms(x, eps);
    let (all_x, x_rest) = x.as_chunks();
    let (all_w, w_rest) = w.as_chunks();
    let (all_y, y_rest) = y.as_chunks_mut();
    for ((x, w), y) in all_x.iter().zip(all_w).zip(all_y) {
        store(y, vmulq_f32(vmulq_n_f32(load(x), inverse), load(w)));
    }
    for ((x, w), y) in x_rest.iter().zip(w_rest).zip(y_rest) {
        *y = x * inverse * w;
    }
}

#[target_feature(enable = "neon")]
pub fn rms_norm_q8(x: &[f32], w: &[f32], eps: f32, y: GroupsMut) {
    let inverse = inverse_rms(x, eps);
    for ((x, w), y) in x.chunks(ACT_GROUP).zip(w.chunks(ACT_GROUP)).zip(y) {
        let mut values = load_group(x);
        for (value, w) in values.iter_mut().zip(load_group(w)) {
            *value = vmulq_f32(vmulq_n_f32(*value, inverse), w);
        }
        put(values, y);
    }
}

#[target_feature(enable = "neon")]
pub fn quantize_q8(x: &[f32], y: GroupsMut) {
    for (x, y) in x.chunks(ACT_GROUP).zip(y) {
        put(load_group(x), y);
    }
}

/// Up to 32 values, followed by zeros.
#[inline]
#[target_feature(enable = "neon")]
pub fn load_group(x: &[f32]) -> Group {
    let mut values = [vdupq_n_f32(0.0); ACT_GROUP / 4];
    for (value, x) in values.iter_mut().zip(x.chunks(4)) {
        *value = load_partial(x);
    }
    values
}

/// `q8::put` for values in registers.
#[inline]
#[target_feature(enable = "neon")]
pub fn put(values: Group, (first, second): GroupMut) {
    *first = quantize(values);
    if let Some(second) = second {
        *second = quantize(rest(first, values));
    }
}

/// `Q8Group::rest` for values in registers.
#[target_feature(enable = "neon")]
fn rest(group: &Q8Group, mut values: Group) -> Group {
    for (value, q) in values.iter_mut().zip(group.q.as_chunks::<4>().0) {
        let q = q.map(f32::from);
        *value = vfmsq_n_f32(*value, load(&q), group.scale);
    }
    values
}

/// `Q8Group::quantize` for values in registers.
#[inline]
#[target_feature(enable = "neon")]
fn quantize(values: Group) -> Q8Group {
    let mut most = vdupq_n_f32(0.0);
    for value in values {
        // A NaN gives way to a number.
        most = vmaxnmq_f32(most, vabsq_f32(value));
    }
    let most = vmaxvq_f32(most);
    let inverse = inverse_scale(most);
    let mut q = [vdupq_n_s32(0); ACT_GROUP / 4];
    for (q, value) in q.iter_mut().zip(values) {
        *q = vcvtnq_s32_f32(vmulq_n_f32(value, inverse));
    }
    let total = |q: &[int32x4_t]| vaddvq_s32(vaddq_s32(vaddq_s32(q[0], q[1]), vaddq_s32(q[2], q[3]))) as i16;
    let scale = if inverse == 0.0 { 0.0 } else { most / 127.0 };
    let mut group = Q8Group { q: [0; ACT_GROUP], scale, sums: [total(&q[..4]), total(&q[4..])] };
    for (q, out) in q.as_chunks().0.iter().zip(group.q.as_chunks_mut().0) {
        store_bytes(out, *q);
    }
    group
}

/// Integers of 8 bits.
#[inline]
#[target_feature(enable = "neon")]
fn store_bytes(out: &mut [i8; 8], q: [int32x4_t; 2]) {
    // SAFETY: eight bytes, any alignment.
    unsafe { vst1_s8(out.as_mut_ptr(), vqmovn_s16(vcombine_s16(vqmovn_s32(q[0]), vqmovn_s32(q[1])))) }
}
