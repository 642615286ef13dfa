//! 16 rows are two vectors.

use core::arch::x86_64::*;

use crate::abi::BLOCK_ROWS;
use crate::cpu::x86::prefetch;
use crate::cpu::x86::rows::{Rows16, pair};
use crate::layout::SUB_SCALES;
use crate::pack::Block;

use super::{Avx2, both};

impl Rows16 for Avx2 {
    type Int = [__m256i; 2];
    type Float = [__m256; 2];
    const BYTE_ZERO: u32 = 0;

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
    fn load_sub_scales(self, bytes: &[u8; BLOCK_ROWS / 2]) -> Self::Float {
        both!(h => {
            let bytes = _mm_loadl_epi64(bytes.as_ptr().cast());
            let half = if h == 0 { bytes } else { _mm_srli_epi16::<4>(bytes) };
            let subs = _mm_shuffle_epi8(_mm_loadu_si128(SUB_SCALES.as_ptr().cast()), _mm_and_si128(half, _mm_set1_epi8(15)));
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(subs))
        })
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
    fn xor(self, a: Self::Int, b: Self::Int) -> Self::Int {
        both!(h => _mm256_xor_si256(a[h], b[h]))
    }

    #[inline(always)]
    fn earlier(self, bits: Self::Int, before: Self::Int, count: u32) -> Self::Int {
        let (left, right) = (count as i32, 32 - count as i32);
        both!(h => {
            let shifted = _mm256_sll_epi32(bits[h], _mm_cvtsi32_si128(left));
            _mm256_or_si256(shifted, _mm256_srl_epi32(before[h], _mm_cvtsi32_si128(right)))
        })
    }

    #[inline(always)]
    fn lookup_32(self, table: &[i8; 32], q: Self::Int, fifth: Self::Int, bit: usize) -> Self::Int {
        let [low, high] = both!(h => _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().add(16 * h).cast())));
        both!(h => {
            // Highest in its byte, where a blend asks for it.
            let in_high = _mm256_sll_epi16(fifth[h], _mm_cvtsi32_si128(7 - bit as i32));
            _mm256_blendv_epi8(_mm256_shuffle_epi8(low, q[h]), _mm256_shuffle_epi8(high, q[h]), in_high)
        })
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], q: Self::Int) -> Self::Int {
        both!(h => _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), q[h]))
    }

    #[inline(always)]
    fn bytes(self, bytes: Self::Int) -> Self::Int {
        bytes
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
