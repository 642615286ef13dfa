//! RMS norm and quantization of activations.

use core::arch::x86_64::*;

use crate::abi::ACT_GROUP;
use crate::cpu::q8::{GroupMut, GroupsMut, Q8Group, inverse_scale};

use super::lanes::{largest, load, load_partial, store, sum};

/// `1 / sqrt(mean(x^2) + eps)`, summed in 4 × 8 lanes.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 4];
    let (groups, rest) = x.as_chunks::<ACT_GROUP>();
    for group in groups {
        for (sum, x) in sums.iter_mut().zip(group.as_chunks().0) {
            let x = load(x);
            *sum = _mm256_fmadd_ps(x, x, *sum);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest.chunks(8)) {
        let x = load_partial(x);
        *sum = _mm256_fmadd_ps(x, x, *sum);
    }
    let total = sum(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
    1.0 / (total / x.len() as f32 + eps).sqrt()
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let inverse = inverse_rms(x, eps);
    let (all_x, x_rest) = x.as_chunks();
    let (all_w, w_rest) = w.as_chunks();
    let (all_y, y_rest) = y.as_chunks_mut();
    for ((x, w), y) in all_x.iter().zip(all_w).zip(all_y) {
        store(y, _mm256_mul_ps(_mm256_mul_ps(load(x), _mm256_set1_ps(inverse)), load(w)));
    }
    for ((x, w), y) in x_rest.iter().zip(w_rest).zip(y_rest) {
        *y = x * inverse * w;
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn rms_norm_q8(x: &[f32], w: &[f32], eps: f32, y: GroupsMut) {
    let inverse = _mm256_set1_ps(inverse_rms(x, eps));
    for ((x, w), y) in x.chunks(ACT_GROUP).zip(w.chunks(ACT_GROUP)).zip(y) {
        let (mut values, w) = (load_group(x), load_group(w));
        for i in 0..4 {
            values[i] = _mm256_mul_ps(_mm256_mul_ps(values[i], inverse), w[i]);
        }
        put(values, y);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn quantize_q8(x: &[f32], y: GroupsMut) {
    for (x, y) in x.chunks(ACT_GROUP).zip(y) {
        put(load_group(x), y);
    }
}

/// Up to 32 values, followed by zeros.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load_group(x: &[f32]) -> [__m256; 4] {
    if let Some(x) = x.first_chunk::<ACT_GROUP>() {
        let [a, b, c, d] = x.as_chunks().0 else { unreachable!("32 values are four vectors") };
        return [load(a), load(b), load(c), load(d)];
    }
    let mut values = [_mm256_setzero_ps(); 4];
    for (value, x) in values.iter_mut().zip(x.chunks(8)) {
        *value = load_partial(x);
    }
    values
}

/// `q8::put` for values in registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn put(values: [__m256; 4], (first, second): GroupMut) {
    *first = quantize(values);
    if let Some(second) = second {
        *second = rest(first, values);
    }
}

/// What a group leaves of its values, as a group. Not inlined: it would be a second `quantize` wherever there is one.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn rest(group: &Q8Group, mut values: [__m256; 4]) -> Q8Group {
    for (value, q) in values.iter_mut().zip(group.q.as_chunks::<8>().0) {
        // SAFETY: eight bytes, any alignment.
        let q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(q.as_ptr().cast()) }));
        *value = _mm256_fnmadd_ps(_mm256_set1_ps(group.scale), q, *value);
    }
    quantize(values)
}

/// `Q8Group::quantize` for values in registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn quantize(values: [__m256; 4]) -> Q8Group {
    let sign = _mm256_set1_ps(-0.0);
    let mut most = _mm256_setzero_ps();
    for value in values {
        // A NaN in the first operand gives way to the second.
        most = _mm256_max_ps(_mm256_andnot_ps(sign, value), most);
    }
    let most = largest(most);
    let inverse = inverse_scale(most);
    let mut q = [_mm256_setzero_si256(); 4];
    for (q, value) in q.iter_mut().zip(values) {
        *q = _mm256_cvtps_epi32(_mm256_mul_ps(value, _mm256_set1_ps(inverse)));
    }
    let four = _mm256_hadd_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
    let two = _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256::<1>(four));
    let totals = _mm_hadd_epi32(two, two);
    let sums = [_mm_extract_epi16::<0>(totals) as i16, _mm_extract_epi16::<2>(totals) as i16];
    // Packing works within 128-bit halves; the permutation puts the dwords in order again.
    let packed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    let ordered = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    let mut group = Q8Group { q: [0; ACT_GROUP], scale: if inverse == 0.0 { 0.0 } else { most / 127.0 }, sums };
    // SAFETY: `q` is 32 bytes.
    unsafe { _mm256_storeu_si256(group.q.as_mut_ptr().cast(), ordered) }
    group
}
