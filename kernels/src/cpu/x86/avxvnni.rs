//! AVX-VNNI: AVX2 with a dot product of bytes (Alder Lake and its successors, Zen 5). All but `linear_q8` is AVX2's.

use core::arch::x86_64::*;

use crate::abi::BLOCK_ROWS;
use crate::cpu::Isa;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::pack::Block;

use super::avx2::Avx2;
use super::prefetch;
use super::vnni::{Rows16, linear_q8};

#[derive(Clone, Copy)]
pub struct AvxVnni(Avx2);

impl Isa for AvxVnni {
    type Base = Avx2;
    const LINEAR_Q8_TOKENS: usize = <Self as Rows16>::TOKENS;

    unsafe fn assume() -> AvxVnni {
        // SAFETY: the caller's promise; a CPU with AVX-VNNI has AVX2.
        AvxVnni(unsafe { Avx2::assume() })
    }

    fn base(self) -> Avx2 {
        self.0
    }

    fn linear_q8(self, w: Block, x: Q8Rows, y: Epilogue) {
        // SAFETY: a value of `AvxVnni` proves that the CPU has the features.
        unsafe { linear_q8(self, w, x, y) }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn linear_q8(isa: AvxVnni, w: Block, x: Q8Rows, y: Epilogue) {
    linear_q8::linear_q8(isa, w, x, y);
}

/// Does the same to both vectors of eight rows.
macro_rules! both {
    ($h:ident => $value:expr) => {{
        // SAFETY: a value of `AvxVnni` proves that the CPU has the features; loads are within their arrays.
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

impl Rows16 for AvxVnni {
    type Int = [__m256i; 2];
    type Float = [__m256; 2];
    const TOKENS: usize = 4;

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
    fn nibbles(self, bytes: Self::Int) -> [Self::Int; 2] {
        let low = both!(h => _mm256_and_si256(bytes[h], _mm256_set1_epi8(15)));
        [low, both!(h => _mm256_and_si256(_mm256_srli_epi16::<4>(bytes[h]), _mm256_set1_epi8(15)))]
    }

    #[inline(always)]
    fn unsigned(self, bytes: Self::Int) -> Self::Int {
        both!(h => _mm256_xor_si256(bytes[h], _mm256_set1_epi8(-128)))
    }

    #[inline(always)]
    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int {
        let x = self.int(i32::from_le_bytes(x.map(|x| x as u8)));
        both!(h => _mm256_dpbusd_avx_epi32(sums[h], w[h], x[h]))
    }

    #[inline(always)]
    fn minus_shifted<const BITS: u32>(self, value: i32) -> Self::Int {
        let value = self.int(value);
        both!(h => _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_sll_epi32(value[h], _mm_cvtsi32_si128(BITS as i32))))
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
