//! AVX-VNNI: AVX2 with a dot product of bytes (Alder Lake and its successors, Zen 5). All but `linear_q8` of the usual kinds is AVX2's:
//! the others' results are the same to the bit, and their code would be much.

use core::arch::x86_64::*;

use crate::abi::BLOCK_ROWS;
use crate::cpu::Isa;
use crate::cpu::views::{Epilogue, Q8Rows, Rows};
use crate::pack::{Block, Blocks};

use super::avx2::Avx2;
use super::numbers::usual;
use super::rows::{Rows16, dword};
use super::vnni::{self, Dot};

#[derive(Clone, Copy)]
pub struct AvxVnni(Avx2);

impl Isa for AvxVnni {
    type Base = Avx2;
    const LINEAR_Q8_TOKENS: usize = <Self as Dot>::TOKENS;

    unsafe fn assume() -> AvxVnni {
        // SAFETY: the caller's promise; a CPU with AVX-VNNI has AVX2.
        AvxVnni(unsafe { Avx2::assume() })
    }

    fn base(self) -> Avx2 {
        self.0
    }

    fn prefetch_first(self, w: Blocks, _: usize) {
        super::prefetch_first(&w);
    }

    fn linear_blocks(self, w: Blocks, x: Rows, y: impl Fn(usize) -> Epilogue) {
        self.0.linear_blocks(w, x, y);
    }

    fn linear_q8(self, w: Block, x: Q8Rows, y: Epilogue) {
        vnni::linear_q8(self, w, x, y);
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn all_tokens<const KIND: u32>(isa: AvxVnni, w: &Block, x: Q8Rows, y: &Epilogue) {
    vnni::all_tokens::<AvxVnni, KIND>(isa, w, x, y);
}

/// What is no dot product is AVX2's.
macro_rules! avx2s {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> $result {
            self.0.$name($($arg),*)
        })*
    };
}

impl Rows16 for AvxVnni {
    type Int = [__m256i; 2];
    type Float = [__m256; 2];
    const BYTE_ZERO: u32 = 128;

    avx2s! {
        fn prefetch(w: &Block, bytes: &[u8]) -> ();
        fn int(value: i32) -> Self::Int;
        fn float(value: f32) -> Self::Float;
        fn load(bytes: &[u8; 4 * BLOCK_ROWS]) -> Self::Int;
        fn load_f16(bytes: &[u8; 2 * BLOCK_ROWS]) -> Self::Float;
        fn load_i8(bytes: &[u8; BLOCK_ROWS]) -> Self::Float;
        fn load_sub_scales(bytes: &[u8; BLOCK_ROWS / 2]) -> Self::Float;
        fn bits(bytes: Self::Int, shift: i32, mask: u8) -> Self::Int;
        fn or(a: Self::Int, b: Self::Int) -> Self::Int;
        fn xor(a: Self::Int, b: Self::Int) -> Self::Int;
        fn earlier(bits: Self::Int, before: Self::Int, count: u32) -> Self::Int;
        fn lookup_32(table: &[i8; 32], q: Self::Int, fifth: Self::Int, bit: usize) -> Self::Int;
        fn lookup(table: &[i8; 16], q: Self::Int) -> Self::Int;
        fn weighted_sum(sums: [i16; 2], factors: [i16; 2]) -> Self::Int;
        fn to_float(value: Self::Int) -> Self::Float;
        fn mul(a: Self::Float, b: Self::Float) -> Self::Float;
        fn fma(a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
        fn rows(value: Self::Float) -> [f32; BLOCK_ROWS];
    }

    #[inline(always)]
    fn bytes(self, bytes: Self::Int) -> Self::Int {
        // SAFETY: a value of `AvxVnni` proves that the CPU has the features.
        unsafe {
            [_mm256_xor_si256(bytes[0], _mm256_set1_epi8(-128)), _mm256_xor_si256(bytes[1], _mm256_set1_epi8(-128))]
        }
    }
}

impl Dot for AvxVnni {
    const TOKENS: usize = 4;

    fn run<const KIND: u32>(self, w: &Block, x: Q8Rows, y: &Epilogue) {
        if const { usual(KIND) } {
            // SAFETY: a value of `AvxVnni` proves that the CPU has the features.
            unsafe { all_tokens::<KIND>(self, w, x, y) }
        } else {
            self.0.linear_q8(*w, x, *y);
        }
    }

    #[inline(always)]
    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int {
        let x = self.int(dword(x));
        // SAFETY: as above.
        unsafe { [_mm256_dpbusd_avx_epi32(sums[0], w[0], x[0]), _mm256_dpbusd_avx_epi32(sums[1], w[1], x[1])] }
    }
}
