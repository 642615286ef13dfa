//! Rotary position embedding and the cache write.

use core::arch::x86_64::*;

use crate::cpu::scalar;
use crate::cpu::views::RopeKv;

use super::lanes::{Cell, load};
use super::norm::inverse_rms;

#[target_feature(enable = "avx2,fma,f16c")]
pub fn rope_kv(token: RopeKv) {
    if !token.head_dim.is_multiple_of(16) {
        return scalar::rope::rope_kv(token);
    }
    if token.f16_cache() { rope_kv_as::<u16>(token) } else { rope_kv_as::<f32>(token) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn rope_kv_as<E: Cell>(mut token: RopeKv) {
    let (head_dim, angles) = (token.head_dim, Angles { cos: token.cos, sin: token.sin });
    for (x, y) in token.q.chunks_exact(head_dim).zip(token.q_out.chunks_exact_mut(head_dim)) {
        rotate::<f32>(x, token.q_norm, token.eps, &angles, y);
    }
    let (k, v, k_norm, eps) = (token.k, token.v, token.k_norm, token.eps);
    let (k_out, v_out) = token.cache_rows::<E>();
    rotate(k, k_norm, eps, &angles, k_out);
    for (v, out) in v.as_chunks().0.iter().zip(v_out.as_chunks_mut().0) {
        // SAFETY: this function has the features.
        unsafe { E::store8(out, load(v)) }
    }
}

struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn rotate<E: Cell>(x: &[f32], norm: Option<&[f32]>, eps: f32, angles: &Angles, y: &mut [E]) {
    let half = angles.cos.len();
    let inverse = _mm256_set1_ps(norm.map_or(1.0, |_| inverse_rms(x, eps)));
    let (lows, highs) = (x[..half].as_chunks().0, x[half..].as_chunks().0);
    let (y_low, y_high) = y.split_at_mut(half);
    let outs = y_low.as_chunks_mut().0.iter_mut().zip(y_high.as_chunks_mut().0);
    for (i, (out_low, out_high)) in outs.enumerate() {
        let (mut a, mut b) = (load(&lows[i]), load(&highs[i]));
        if let Some(w) = norm {
            let (w_low, w_high) = (&w[..half].as_chunks().0[i], &w[half..].as_chunks().0[i]);
            a = _mm256_mul_ps(_mm256_mul_ps(a, inverse), load(w_low));
            b = _mm256_mul_ps(_mm256_mul_ps(b, inverse), load(w_high));
        }
        let (cos, sin) = (load(&angles.cos.as_chunks().0[i]), load(&angles.sin.as_chunks().0[i]));
        // SAFETY: this function has the features.
        unsafe {
            E::store8(out_low, _mm256_fmsub_ps(a, cos, _mm256_mul_ps(b, sin)));
            E::store8(out_high, _mm256_fmadd_ps(b, cos, _mm256_mul_ps(a, sin)));
        }
    }
}
