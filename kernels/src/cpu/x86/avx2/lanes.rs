//! Loads, stores and small vector functions.

use core::arch::x86_64::*;

use crate::cpu::cached::Element;
use crate::exp::{LEAST, LN_2, MOST, POLYNOMIAL};

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load(x: &[f32; 8]) -> __m256 {
    // SAFETY: eight values, any alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn store(x: &mut [f32; 8], value: __m256) {
    // SAFETY: eight values, any alignment.
    unsafe { _mm256_storeu_ps(x.as_mut_ptr(), value) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load_bytes(x: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes, any alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// Eight 16-bit values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load_halves(x: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes, any alignment.
    unsafe { _mm_loadu_si128(x.as_ptr().cast()) }
}

/// The first eight values, or as many as there are followed by zeros.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load_partial(x: &[f32]) -> __m256 {
    match x.first_chunk() {
        Some(full) => load(full),
        None => {
            let mut values = [0.0; 8];
            values[..x.len()].copy_from_slice(x);
            load(&values)
        }
    }
}

/// The sum of eight values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn sum(x: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The largest of eight values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn largest(x: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// The largest magnitude of eight values, or `most`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn largest_magnitude(most: __m256, x: __m256) -> __m256 {
    _mm256_max_ps(most, _mm256_andnot_ps(_mm256_set1_ps(-0.0), x))
}

/// `e^x`, within 2 units in the last place for −87.3 <= x <= 88; beyond, the value at that end.
///
/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and `|r| <= ln 2 / 2`; ln 2 is split in two so that `r` keeps its bits.
/// The polynomial is Cephes' (`expf`).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn exp(x: __m256) -> __m256 {
    let x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(LEAST)), _mm256_set1_ps(MOST));
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        x,
        _mm256_set1_ps(core::f32::consts::LOG2_E),
    ));
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[0]), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[1]), r);
    let mut p = _mm256_set1_ps(POLYNOMIAL[0]);
    for &c in &POLYNOMIAL[1..] {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
    }
    let p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0)));
    let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
    _mm256_mul_ps(p, _mm256_castsi256_ps(power))
}

/// An element of the KV cache, eight at a time.
pub trait Cell: Element {
    /// # Safety
    /// The CPU must have AVX2 and F16C.
    unsafe fn store8(x: &mut [Self; 8], value: __m256);
}

impl Cell for f32 {
    #[inline(always)]
    unsafe fn store8(x: &mut [f32; 8], value: __m256) {
        // SAFETY: the caller's promise.
        unsafe { store(x, value) }
    }
}

impl Cell for u16 {
    #[inline(always)]
    unsafe fn store8(x: &mut [u16; 8], value: __m256) {
        // SAFETY: the caller's promise; eight values, any alignment.
        unsafe { _mm_storeu_si128(x.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value)) }
    }
}

impl Cell for i8 {
    #[inline(always)]
    unsafe fn store8(x: &mut [i8; 8], value: __m256) {
        // SAFETY: the caller's promise; eight values, any alignment.
        unsafe {
            let value = _mm256_cvtps_epi32(value);
            let words = _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value));
            _mm_storel_epi64(x.as_mut_ptr().cast(), _mm_packs_epi16(words, words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[target_feature(enable = "avx2,fma,f16c")]
    fn exp_of(x: &[f32; 8]) -> [f32; 8] {
        let mut y = [0.0; 8];
        store(&mut y, exp(load(x)));
        y
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        if !crate::table::Features::detect().has(crate::table::Tier::Avx2.needs()) {
            println!("exp: skipped, the CPU lacks AVX2");
            return;
        }
        let mut worst = 0.0f64;
        for step in 0..200_000 {
            let x = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| -87.3 + 175.3 * (8 * step + i) as f32 / 1_600_000.0);
            // SAFETY: the CPU has the features.
            let y = unsafe { exp_of(&x) };
            for (x, y) in x.into_iter().zip(y) {
                let exact = f64::from(x).exp();
                let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
                worst = worst.max((f64::from(y) - exact).abs() / unit);
            }
        }
        assert!(worst <= 2.0, "off by {worst} units");
        // SAFETY: the CPU has the features.
        let ends = unsafe { exp_of(&[f32::NEG_INFINITY, -200.0, 0.0, 88.0, 200.0, f32::INFINITY, -0.0, 1e-30]) };
        assert!(ends[0] < 2e-38 && ends[1] < 2e-38 && ends[4].is_finite() && ends[5].is_finite(), "{ends:?}");
        assert_eq!([ends[2], ends[6], ends[7]], [1.0; 3]);
    }
}
