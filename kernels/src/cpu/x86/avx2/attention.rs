//! Attention with vectors of eight.

use core::arch::x86_64::*;

use crate::abi::KV_TILE;
use crate::cpu::cached::Heads;
use crate::cpu::flash::{self, Lanes};
use crate::cpu::scalar;

use super::{Avx2, lanes};

#[target_feature(enable = "avx2,fma,f16c")]
pub fn attention(isa: Avx2, tokens: &mut [Heads]) {
    match tokens {
        [first, ..] if flash::fits::<Avx2>(first.head_dim) => flash::attention(isa, tokens),
        _ => scalar::attention::attention(tokens),
    }
}

/// An expression of intrinsics.
macro_rules! vector {
    ($value:expr) => {
        // SAFETY: a value of `Avx2` proves that the CPU has the features; loads and stores are within what they are given.
        unsafe { $value }
    };
}

impl Lanes for Avx2 {
    type V = __m256;
    const WIDTH: usize = 8;
    const MANY: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        vector!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> __m256 {
        vector!(_mm256_loadu_ps(x[..8].as_ptr()))
    }

    #[inline(always)]
    fn load_f16(self, x: &[u16]) -> __m256 {
        vector!(_mm256_cvtph_ps(_mm_loadu_si128(x[..8].as_ptr().cast())))
    }

    #[inline(always)]
    fn store(self, x: &mut [f32], value: __m256) {
        vector!(_mm256_storeu_ps(x[..8].as_mut_ptr(), value));
    }

    #[inline(always)]
    fn tiles(self, x: [&[f32; KV_TILE]; 2]) -> __m256 {
        self.load(x[0])
    }

    #[inline(always)]
    fn tiles_f16(self, x: [&[u16; KV_TILE]; 2]) -> __m256 {
        self.load_f16(x[0])
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        vector!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        vector!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        vector!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        vector!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn exp(self, x: __m256) -> __m256 {
        vector!(_mm256_and_ps(lanes::exp(x), _mm256_cmp_ps::<_CMP_GE_OQ>(x, _mm256_set1_ps(-87.3))))
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &T) {
        vector!(_mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(x).cast()));
    }

    #[inline(always)]
    fn sum(self, x: __m256) -> f32 {
        vector!(lanes::sum(x))
    }

    #[inline(always)]
    fn largest(self, x: __m256) -> f32 {
        vector!(lanes::largest(x))
    }
}
