//! 16 rows are two vectors.

use core::arch::x86_64::*;

use crate::abi::BLOCK_ROWS;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::cpu::x86::prefetch;
use crate::cpu::x86::vnni::{Rows16, linear_q8, pair};
use crate::pack::Block;

use super::Avx2;

/// Does the same to both vectors of eight rows.
macro_rules! both {
    ($h:ident => $value:expr) => {{
        // SAFETY: a value of `Avx2` proves that the CPU has the features; loads are within their arrays.
        unsafe {
            [
                {
                    let $h = 0;
                    $value
                },
                {
                    let $h = 1;
                    $value
                },
            ]
        }
    }};
}

#[target_feature(enable = "avx2,fma,f16c")]
fn all_tokens<const KIND: u32>(isa: Avx2, w: &Block, x: Q8Rows, y: &Epilogue) {
    linear_q8::all_tokens::<Avx2, KIND>(isa, w, x, y);
}

impl Rows16 for Avx2 {
    type Int = [__m256i; 2];
    type Float = [__m256; 2];
    const TOKENS: usize = 4;
    const BYTE_ZERO: u32 = 0;

    fn run<const KIND: u32>(self, w: &Block, x: Q8Rows, y: &Epilogue) {
        // SAFETY: a value of `Avx2` proves that the CPU has the features.
        unsafe { all_tokens::<KIND>(self, w, x, y) }
    }

    #[inline(always)]
    fn prefetch(self, w: &Block, bytes: &[u8]) {
        prefetch(w, bytes);
    }

    #[inline(always)]
    fn int(self, value: i32) -> Self::Int {
        both!(_h => _mm256_set1_epi32(value))
    }

    #[inline(always)]
    fn float(self, value: f32) -> Self::Float {
        both!(_h => _mm256_set1_ps(value))
    }

    #[inline(always)]
    fn load(self, bytes: &[u8; 4 * BLOCK_ROWS]) -> Self::Int {
        both!(h => _mm256_loadu_si256(bytes.as_ptr().add(32 * h).cast()))
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 2 * BLOCK_ROWS]) -> Self::Float {
        both!(h => _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().add(16 * h).cast())))
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; BLOCK_ROWS]) -> Self::Float {
        both!(h => _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes.as_ptr().add(8 * h).cast()))))
    }

    #[inline(always)]
    fn bits(self, bytes: Self::Int, shift: i32, mask: u8) -> Self::Int {
        both!(h => {
            let count = _mm_cvtsi32_si128(shift.abs());
            let shifted = if shift < 0 { _mm256_sll_epi16(bytes[h], count) } else { _mm256_srl_epi16(bytes[h], count) };
            _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8))
        })
    }

    #[inline(always)]
    fn or(self, a: Self::Int, b: Self::Int) -> Self::Int {
        both!(h => _mm256_or_si256(a[h], b[h]))
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], q: Self::Int) -> Self::Int {
        both!(h => _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), q[h]))
    }

    #[inline(always)]
    fn bytes(self, bytes: Self::Int) -> Self::Int {
        bytes
    }

    /// A pair's sum is at most 2 · 63 · 127, which fits 16 bits.
    #[inline(always)]
    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int {
        let x = self.int(i32::from_le_bytes(x.map(|x| x as u8)));
        both!(h => {
            let pairs = _mm256_maddubs_epi16(w[h], x[h]);
            _mm256_add_epi32(sums[h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    /// `maddubs` wants one unsigned side: |w| and x with w's sign. |w| <= 128 and |x| <= 127, so a pair's sum is at most 32512.
    #[inline(always)]
    fn dot_bytes(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int {
        let x = self.int(i32::from_le_bytes(x.map(|x| x as u8)));
        both!(h => {
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[h]), _mm256_sign_epi8(x[h], w[h]));
            _mm256_add_epi32(sums[h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    #[inline(always)]
    fn weighted_sum(self, sums: [i16; 2], factors: [i16; 2]) -> Self::Int {
        let (sums, factors) = (self.int(pair(sums)), self.int(pair(factors)));
        both!(h => _mm256_madd_epi16(sums[h], factors[h]))
    }

    #[inline(always)]
    fn to_float(self, value: Self::Int) -> Self::Float {
        both!(h => _mm256_cvtepi32_ps(value[h]))
    }

    #[inline(always)]
    fn mul(self, a: Self::Float, b: Self::Float) -> Self::Float {
        both!(h => _mm256_mul_ps(a[h], b[h]))
    }

    #[inline(always)]
    fn fma(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float {
        both!(h => _mm256_fmadd_ps(a[h], b[h], c[h]))
    }

    #[inline(always)]
    fn rows(self, value: Self::Float) -> [f32; BLOCK_ROWS] {
        let mut rows = [0.0; BLOCK_ROWS];
        both!(h => _mm256_storeu_ps(rows.as_mut_ptr().add(8 * h), value[h]));
        rows
    }
}
