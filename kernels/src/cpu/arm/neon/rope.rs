//! Rotary position embedding and the cache write.

use core::arch::aarch64::*;

use crate::cpu::cached::{RopeKv, each_element};
use crate::cpu::scalar;

use super::lanes::{Cell, load, store};
use super::norm::inverse_rms;

#[target_feature(enable = "neon")]
pub fn rope_kv(token: RopeKv) {
    if !token.head_dim.is_multiple_of(8) {
        return scalar::rope::rope_kv(token);
    }
    each_element!(token.kind(), E => rope_kv_as::<E>(token));
}

#[target_feature(enable = "neon")]
fn rope_kv_as<E: Cell>(mut token: RopeKv) {
    let (head_dim, angles) = (token.head_dim, Angles { cos: token.cos, sin: token.sin });
    for (x, y) in token.q.chunks_exact(head_dim).zip(token.q_out.chunks_exact_mut(head_dim)) {
        rotate(x, token.q_norm, token.eps, &angles, |i, value| store(&mut y.as_chunks_mut().0[i / 4], value));
    }
    let (k, v, k_norm, eps) = (token.k, token.v, token.k_norm, token.eps);
    let mut most = vdupq_n_f32(0.0);
    if E::SCALED {
        rotate(k, k_norm, eps, &angles, |_, value| most = vmaxq_f32(most, vabsq_f32(value)));
    }
    let inverse = token.scale_key::<E>(vmaxvq_f32(most));
    rotate(k, k_norm, eps, &angles, |i, value| {
        let mut cells = [E::from_f32(0.0); 4];
        // SAFETY: this function has the features.
        unsafe { E::store4(&mut cells, scaled::<E>(value, inverse)) }
        for (j, cell) in cells.into_iter().enumerate() {
            token.put_key(i + j, cell);
        }
    });
    let mut most = vdupq_n_f32(0.0);
    if E::SCALED {
        for v in v.as_chunks().0 {
            most = vmaxq_f32(most, vabsq_f32(load(v)));
        }
    }
    let inverse = token.scale_value::<E>(vmaxvq_f32(most));
    for (v, out) in v.as_chunks().0.iter().zip(token.value_row::<E>().as_chunks_mut().0) {
        // SAFETY: this function has the features.
        unsafe { E::store4(out, scaled::<E>(load(v), inverse)) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn scaled<E: Cell>(value: float32x4_t, inverse: f32) -> float32x4_t {
    if E::SCALED { vmulq_n_f32(value, inverse) } else { value }
}

struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
}

/// `put(i, four values from i on)` gets what becomes of `x`.
#[inline]
#[target_feature(enable = "neon")]
fn rotate(x: &[f32], norm: Option<&[f32]>, eps: f32, angles: &Angles, mut put: impl FnMut(usize, float32x4_t)) {
    let half = angles.cos.len();
    let inverse = norm.map_or(1.0, |_| inverse_rms(x, eps));
    let (lows, highs) = (x[..half].as_chunks().0, x[half..].as_chunks().0);
    for (i, (low, high)) in lows.iter().zip(highs).enumerate() {
        let (mut a, mut b) = (load(low), load(high));
        if let Some(w) = norm {
            let (w_low, w_high) = (&w[..half].as_chunks().0[i], &w[half..].as_chunks().0[i]);
            a = vmulq_f32(vmulq_n_f32(a, inverse), load(w_low));
            b = vmulq_f32(vmulq_n_f32(b, inverse), load(w_high));
        }
        let (cos, sin) = (load(&angles.cos.as_chunks().0[i]), load(&angles.sin.as_chunks().0[i]));
        put(4 * i, vfmsq_f32(vmulq_f32(a, cos), b, sin));
        put(half + 4 * i, vfmaq_f32(vmulq_f32(a, sin), b, cos));
    }
}
