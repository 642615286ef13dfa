//! What x86's levels have in common; they differ in how many vectors hold 16 rows, and in their dot products of bytes.
//!
//! Functions here are generic, so they carry no `#[target_feature]`: they are always inlined into ones that do.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

pub mod linear_q8;
pub mod mirror;
pub mod numbers;

use crate::abi::BLOCK_ROWS;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::pack::Block;

/// Vectors of 16 rows. A value of the type proves that the CPU has the instructions.
pub trait Rows16: Copy {
    type Int: Copy;
    type Float: Copy;
    /// Tokens that share a decoding of the weights: as many as leave registers for these.
    const TOKENS: usize;
    /// How much more than its value a byte is that `bytes` gives: 128 where the dot product takes unsigned bytes only, else 0.
    const BYTE_ZERO: u32;

    /// `linear_q8::all_tokens`, compiled for this CPU.
    fn run<const KIND: u32>(self, w: &Block, x: Q8Rows, y: &Epilogue);

    /// While a block comes from memory, asks for the weights that follow these after a while.
    fn prefetch(self, w: &Block, bytes: &[u8]);
    fn int(self, value: i32) -> Self::Int;
    fn float(self, value: f32) -> Self::Float;
    /// Row `r` is at bytes `4 r..4 r + 4`.
    fn load(self, bytes: &[u8; 4 * BLOCK_ROWS]) -> Self::Int;
    fn load_f16(self, bytes: &[u8; 2 * BLOCK_ROWS]) -> Self::Float;
    /// One signed byte for each row.
    fn load_i8(self, bytes: &[u8; BLOCK_ROWS]) -> Self::Float;
    /// 16-bit lanes shifted right by `shift` (left where it is negative), and the bits of `mask` in each byte.
    fn bits(self, bytes: Self::Int, shift: i32, mask: u8) -> Self::Int;
    fn or(self, a: Self::Int, b: Self::Int) -> Self::Int;
    /// `table[q]` for each byte, which is less than 16.
    fn lookup(self, table: &[i8; 16], q: Self::Int) -> Self::Int;
    /// Signed bytes as `dot_bytes` takes them: `BYTE_ZERO` more.
    fn bytes(self, bytes: Self::Int) -> Self::Int;
    /// `sums + w · x` over each row's four bytes; `w` is unsigned and below 64, `x` signed and the same for all rows.
    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int;
    /// The same for what `bytes` gives.
    fn dot_bytes(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int;
    /// `sums[0] * factors[0] + sums[1] * factors[1]` in each row.
    fn weighted_sum(self, sums: [i16; 2], factors: [i16; 2]) -> Self::Int;
    fn to_float(self, value: Self::Int) -> Self::Float;
    fn mul(self, a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    fn rows(self, value: Self::Float) -> [f32; BLOCK_ROWS];
}

/// Both in one dword, the first below.
#[inline(always)]
pub fn pair(values: [i16; 2]) -> i32 {
    i32::from(values[0] as u16) | i32::from(values[1]) << 16
}
