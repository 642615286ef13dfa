//! Rotary position embedding and the cache write.

use core::arch::x86_64::*;

use crate::cpu::cached::{RopeKv, each_element};
use crate::cpu::scalar;

use super::lanes::{Cell, largest, largest_magnitude, load, store};
use super::norm::inverse_rms;

#[target_feature(enable = "avx2,fma,f16c")]
pub fn rope_kv(token: RopeKv) {
    if !token.head_dim.is_multiple_of(16) {
        return scalar::rope::rope_kv(token);
    }
    each_element!(token.kind(), E => rope_kv_as::<E>(token));
}

#[target_feature(enable = "avx2,fma,f16c")]
fn rope_kv_as<E: Cell>(mut token: RopeKv) {
    let (head_dim, angles) = (token.head_dim, Angles { cos: token.cos, sin: token.sin });
    for (x, y) in token.q.chunks_exact(head_dim).zip(token.q_out.chunks_exact_mut(head_dim)) {
        rotate(x, token.q_norm, token.eps, &angles, |i, value| store(&mut y.as_chunks_mut().0[i / 8], value));
    }
    let (k, v, k_norm, eps) = (token.k, token.v, token.k_norm, token.eps);
    let mut most = _mm256_setzero_ps();
    if E::SCALED {
        rotate(k, k_norm, eps, &angles, |_, value| most = largest_magnitude(most, value));
    }
    let inverse = _mm256_set1_ps(token.scale_key::<E>(largest(most)));
    rotate(k, k_norm, eps, &angles, |i, value| {
        let mut cells = [E::from_f32(0.0); 8];
        // SAFETY: this function has the features.
        unsafe { E::store8(&mut cells, scaled::<E>(value, inverse)) }
        for (j, cell) in cells.into_iter().enumerate() {
            token.put_key(i + j, cell);
        }
    });
    let mut most = _mm256_setzero_ps();
    if E::SCALED {
        for v in v.as_chunks().0 {
            most = largest_magnitude(most, load(v));
        }
    }
    let inverse = _mm256_set1_ps(token.scale_value::<E>(largest(most)));
    for (v, out) in v.as_chunks().0.iter().zip(token.value_row::<E>().as_chunks_mut().0) {
        // SAFETY: this function has the features.
        unsafe { E::store8(out, scaled::<E>(load(v), inverse)) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled<E: Cell>(value: __m256, inverse: __m256) -> __m256 {
    if E::SCALED { _mm256_mul_ps(value, inverse) } else { value }
}

struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
}

/// `put(i, eight values from i on)` gets what becomes of `x`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn rotate(x: &[f32], norm: Option<&[f32]>, eps: f32, angles: &Angles, mut put: impl FnMut(usize, __m256)) {
    let half = angles.cos.len();
    let inverse = _mm256_set1_ps(norm.map_or(1.0, |_| inverse_rms(x, eps)));
    let (lows, highs) = (x[..half].as_chunks().0, x[half..].as_chunks().0);
    for (i, (low, high)) in lows.iter().zip(highs).enumerate() {
        let (mut a, mut b) = (load(low), load(high));
        if let Some(w) = norm {
            let (w_low, w_high) = (&w[..half].as_chunks().0[i], &w[half..].as_chunks().0[i]);
            a = _mm256_mul_ps(_mm256_mul_ps(a, inverse), load(w_low));
            b = _mm256_mul_ps(_mm256_mul_ps(b, inverse), load(w_high));
        }
        let (cos, sin) = (load(&angles.cos.as_chunks().0[i]), load(&angles.sin.as_chunks().0[i]));
        put(8 * i, _mm256_fmsub_ps(a, cos, _mm256_mul_ps(b, sin)));
        put(half + 8 * i, _mm256_fmadd_ps(b, cos, _mm256_mul_ps(a, sin)));
    }
}
