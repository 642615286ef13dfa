//! Attention with vectors of eight.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::abi::KV_TILE;
use crate::cpu::cached::Heads;
use crate::cpu::cut::Sums;
use crate::cpu::flash::{self, EXP2, Lanes, SixByTwo, ThreeByFour, Work};
use crate::cpu::scalar;

use super::{Avx2, lanes, six_by_two, three_by_four};

#[target_feature(enable = "avx2,fma,f16c")]
pub fn attention(isa: Avx2, tokens: &mut [Heads]) {
    match tokens {
        [first, ..] if flash::fits::<Avx2>(first.head_dim) => flash::attention(isa, tokens),
        _ => scalar::attention::attention(tokens),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn join(isa: Avx2, heads: Heads, sums: Sums) {
    if flash::fits::<Avx2>(heads.head_dim) {
        flash::join(isa, heads, sums);
    } else {
        scalar::attention::join(heads, sums);
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
    const SIX_BY_TWO: bool = true;
    const THREE_BY_FOUR: bool = true;

    fn call(self, work: impl Work) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled(isa: Avx2, work: impl Work) {
            work.run(isa);
        }
        vector!(compiled(self, work));
    }

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
    fn load_i8(self, x: &[i8]) -> __m256 {
        vector!(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(x[..8].as_ptr().cast()))))
    }

    #[inline(always)]
    fn store(self, x: &mut [f32], value: __m256) {
        vector!(_mm256_storeu_ps(x[..8].as_mut_ptr(), value));
    }

    #[inline(always)]
    fn store_new(self, x: &mut [MaybeUninit<f32>], value: __m256) {
        vector!(_mm256_storeu_ps(x[..8].as_mut_ptr().cast(), value));
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
    fn tiles_i8(self, x: [&[i8; KV_TILE]; 2]) -> __m256 {
        self.load_i8(x[0])
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
    fn exp2(self, x: __m256) -> __m256 {
        vector!({
            let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            let r = _mm256_sub_ps(x, n);
            let mut p = _mm256_set1_ps(EXP2[6]);
            for i in [5, 4, 3, 2, 1, 0] {
                p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP2[i]));
            }
            // n is added to the exponent.
            let power = _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n)));
            _mm256_and_ps(_mm256_castsi256_ps(power), _mm256_cmp_ps::<_CMP_GE_OQ>(x, _mm256_set1_ps(-126.0)))
        })
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

    #[inline(always)]
    fn six_by_two(self, product: SixByTwo, sums: &mut [__m256; 12]) {
        vector!(six_by_two::add(&product, sums));
    }

    #[inline(always)]
    fn three_by_four(self, product: ThreeByFour, sums: &mut [__m256; 12]) {
        vector!(three_by_four::add(&product, sums));
    }
}
