//! Attention with vectors of sixteen.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::abi::KV_TILE;
use crate::cpu::Isa;
use crate::cpu::cached::Heads;
use crate::cpu::cut::Sums;
use crate::cpu::flash::{self, EXP2, Lanes, Work};

use super::Avx512;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub fn attention(isa: Avx512, tokens: &mut [Heads]) {
    match tokens {
        [first, ..] if flash::fits::<Avx512>(first.head_dim) => flash::attention(isa, tokens),
        _ => isa.base().attention(tokens),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub fn join(isa: Avx512, heads: Heads, sums: Sums) {
    if flash::fits::<Avx512>(heads.head_dim) {
        flash::join(isa, heads, sums);
    } else {
        isa.base().join(heads, sums);
    }
}

/// An expression of intrinsics.
macro_rules! vector {
    ($value:expr) => {
        // SAFETY: a value of `Avx512` proves that the CPU has the features; loads and stores are within what they are given.
        unsafe { $value }
    };
}

impl Lanes for Avx512 {
    type V = __m512;
    const WIDTH: usize = 16;
    const MANY: bool = true;

    fn call(self, work: impl Work) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn compiled(isa: Avx512, work: impl Work) {
            work.run(isa);
        }
        vector!(compiled(self, work));
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        vector!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> __m512 {
        vector!(_mm512_loadu_ps(x[..16].as_ptr()))
    }

    #[inline(always)]
    fn load_f16(self, x: &[u16]) -> __m512 {
        vector!(_mm512_cvtph_ps(_mm256_loadu_si256(x[..16].as_ptr().cast())))
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8]) -> __m512 {
        vector!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x[..16].as_ptr().cast()))))
    }

    #[inline(always)]
    fn store(self, x: &mut [f32], value: __m512) {
        vector!(_mm512_storeu_ps(x[..16].as_mut_ptr(), value));
    }

    #[inline(always)]
    fn store_new(self, x: &mut [MaybeUninit<f32>], value: __m512) {
        vector!(_mm512_storeu_ps(x[..16].as_mut_ptr().cast(), value));
    }

    #[inline(always)]
    fn tiles(self, x: [&[f32; KV_TILE]; 2]) -> __m512 {
        vector!({
            let low = _mm512_castpd256_pd512(_mm256_loadu_pd(x[0].as_ptr().cast()));
            _mm512_castpd_ps(_mm512_insertf64x4::<1>(low, _mm256_loadu_pd(x[1].as_ptr().cast())))
        })
    }

    #[inline(always)]
    fn tiles_f16(self, x: [&[u16; KV_TILE]; 2]) -> __m512 {
        vector!({
            let low = _mm256_castsi128_si256(_mm_loadu_si128(x[0].as_ptr().cast()));
            _mm512_cvtph_ps(_mm256_inserti128_si256::<1>(low, _mm_loadu_si128(x[1].as_ptr().cast())))
        })
    }

    #[inline(always)]
    fn tiles_i8(self, x: [&[i8; KV_TILE]; 2]) -> __m512 {
        vector!({
            let (low, high) = (_mm_loadl_epi64(x[0].as_ptr().cast()), _mm_loadl_epi64(x[1].as_ptr().cast()));
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_unpacklo_epi64(low, high)))
        })
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        vector!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn exp2(self, x: __m512) -> __m512 {
        vector!({
            let normal = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, _mm512_set1_ps(-126.0));
            let n = _mm512_roundscale_ps::<0>(x);
            let r = _mm512_sub_ps(x, n);
            let mut p = _mm512_set1_ps(EXP2[6]);
            for i in [5, 4, 3, 2, 1, 0] {
                p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2[i]));
            }
            _mm512_maskz_scalef_ps(normal, p, n)
        })
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &T) {
        vector!(_mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(x).cast()));
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        vector!(_mm512_reduce_add_ps(x))
    }

    #[inline(always)]
    fn largest(self, x: __m512) -> f32 {
        vector!(_mm512_reduce_max_ps(x))
    }
}
