//! 16 rows are one vector.

use core::arch::x86_64::*;

use crate::abi::BLOCK_ROWS;
use crate::cpu::x86::prefetch;
use crate::cpu::x86::vnni::Rows16;
use crate::pack::Block;

use super::Avx512;

/// An expression of intrinsics.
macro_rules! vector {
    ($value:expr) => {
        // SAFETY: a value of `Avx512` proves that the CPU has the features; loads and stores are within their arrays.
        unsafe { $value }
    };
}

impl Rows16 for Avx512 {
    type Int = __m512i;
    type Float = __m512;
    const TOKENS: usize = 8;

    #[inline(always)]
    fn prefetch(self, w: &Block, bytes: &[u8]) {
        prefetch(w, bytes);
    }

    #[inline(always)]
    fn int(self, value: i32) -> __m512i {
        vector!(_mm512_set1_epi32(value))
    }

    #[inline(always)]
    fn float(self, value: f32) -> __m512 {
        vector!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn load(self, bytes: &[u8; 4 * BLOCK_ROWS]) -> __m512i {
        vector!(_mm512_loadu_si512(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 2 * BLOCK_ROWS]) -> __m512 {
        vector!(_mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())))
    }

    #[inline(always)]
    fn nibbles(self, bytes: __m512i) -> [__m512i; 2] {
        let low = vector!(_mm512_set1_epi8(15));
        vector!([_mm512_and_si512(bytes, low), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low)])
    }

    #[inline(always)]
    fn unsigned(self, bytes: __m512i) -> __m512i {
        vector!(_mm512_xor_si512(bytes, _mm512_set1_epi8(-128)))
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, w: __m512i, x: [i8; 4]) -> __m512i {
        vector!(_mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(i32::from_le_bytes(x.map(|x| x as u8)))))
    }

    #[inline(always)]
    fn minus_shifted<const BITS: u32>(self, value: i32) -> __m512i {
        vector!(_mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<BITS>(_mm512_set1_epi32(value))))
    }

    #[inline(always)]
    fn to_float(self, value: __m512i) -> __m512 {
        vector!(_mm512_cvtepi32_ps(value))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        vector!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn rows(self, value: __m512) -> [f32; BLOCK_ROWS] {
        let mut rows = [0.0; BLOCK_ROWS];
        vector!(_mm512_storeu_ps(rows.as_mut_ptr(), value));
        rows
    }
}
