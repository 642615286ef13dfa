//! 16 rows are one vector.

use core::arch::x86_64::*;

use crate::abi::BLOCK_ROWS;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::cpu::x86::prefetch;
use crate::cpu::x86::rows::{Rows16, dword, pair};
use crate::cpu::x86::vnni::{self, Dot};
use crate::layout::{Kind, SUB_SCALES};
use crate::pack::{Block, Blocks};

use super::Avx512;

/// An expression of intrinsics.
macro_rules! vector {
    ($value:expr) => {
        // SAFETY: a value of `Avx512` proves that the CPU has the features; loads and stores are within their arrays.
        unsafe { $value }
    };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn all_tokens<const KIND: u32>(isa: Avx512, w: &Block, x: Q8Rows, y: &Epilogue) {
    vnni::all_tokens::<Avx512, KIND>(isa, w, x, y);
}

/// Some blocks, two at a time where there are tokens enough and the kind leaves registers for it.
pub fn linear_q8_blocks(isa: Avx512, mut blocks: Blocks, x: Q8Rows, y: impl Fn(usize) -> Epilogue) {
    let pairs = x.count() >= vnni::MANY && matches!(blocks.kind(), Kind::I4 | Kind::I8);
    let mut i = 0;
    while let Some(w) = blocks.next() {
        match if pairs { blocks.next() } else { None } {
            None => {
                vnni::linear_q8(isa, w, x, y(i));
                i += 1;
            }
            Some(second) => {
                let (w, y) = ([&w, &second], [&y(i), &y(i + 1)]);
                match w[0].kind {
                    Kind::I8 => vector!(two_blocks::<{ Kind::I8 as u32 }>(isa, w, x, y)),
                    _ => vector!(two_blocks::<{ Kind::I4 as u32 }>(isa, w, x, y)),
                }
                i += 2;
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn two_blocks<const KIND: u32>(isa: Avx512, w: [&Block; 2], x: Q8Rows, y: [&Epilogue; 2]) {
    vnni::two_blocks::<Avx512, KIND>(isa, w, x, y);
}

impl Rows16 for Avx512 {
    type Int = __m512i;
    type Float = __m512;
    const BYTE_ZERO: u32 = 128;

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
    fn load_i8(self, bytes: &[u8; BLOCK_ROWS]) -> __m512 {
        vector!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn load_sub_scales(self, bytes: &[u8; BLOCK_ROWS / 2]) -> __m512 {
        vector!({
            let bytes = _mm_loadl_epi64(bytes.as_ptr().cast());
            let halves = _mm_and_si128(_mm_unpacklo_epi64(bytes, _mm_srli_epi16::<4>(bytes)), _mm_set1_epi8(15));
            let subs = _mm_shuffle_epi8(_mm_loadu_si128(SUB_SCALES.as_ptr().cast()), halves);
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(subs))
        })
    }

    #[inline(always)]
    fn bits(self, bytes: __m512i, shift: i32, mask: u8) -> __m512i {
        vector!({
            let count = _mm_cvtsi32_si128(shift.abs());
            let shifted = if shift < 0 { _mm512_sll_epi16(bytes, count) } else { _mm512_srl_epi16(bytes, count) };
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        })
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        vector!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        vector!(_mm512_xor_si512(a, b))
    }

    #[inline(always)]
    fn earlier(self, bits: __m512i, before: __m512i, count: u32) -> __m512i {
        let (left, right) = (count as i32, 32 - count as i32);
        vector!({
            let shifted = _mm512_sll_epi32(bits, _mm_cvtsi32_si128(left));
            _mm512_or_si512(shifted, _mm512_srl_epi32(before, _mm_cvtsi32_si128(right)))
        })
    }

    #[inline(always)]
    fn lookup_32(self, table: &[i8; 32], q: __m512i, fifth: __m512i, bit: usize) -> __m512i {
        let (low, high) = table.split_at(16);
        vector!({
            let half = |table: &[i8]| _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            let in_high = _mm512_test_epi8_mask(fifth, _mm512_set1_epi8((1u8 << bit) as i8));
            _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(half(low), q), in_high, half(high), q)
        })
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], q: __m512i) -> __m512i {
        vector!(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), q))
    }

    #[inline(always)]
    fn bytes(self, bytes: __m512i) -> __m512i {
        vector!(_mm512_xor_si512(bytes, _mm512_set1_epi8(-128)))
    }

    #[inline(always)]
    fn weighted_sum(self, sums: [i16; 2], factors: [i16; 2]) -> __m512i {
        vector!(_mm512_madd_epi16(self.int(pair(sums)), self.int(pair(factors))))
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

impl Dot for Avx512 {
    const TOKENS: usize = 8;

    fn run<const KIND: u32>(self, w: &Block, x: Q8Rows, y: &Epilogue) {
        vector!(all_tokens::<KIND>(self, w, x, y))
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, w: __m512i, x: [i8; 4]) -> __m512i {
        vector!(_mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(dword(x))))
    }
}
