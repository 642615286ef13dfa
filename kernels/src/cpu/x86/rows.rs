//! Vectors of 16 rows, as x86's levels have them: one or two vectors.
//!
//! Functions that use them are generic, so they carry no `#[target_feature]`: they are always inlined into ones that do. Closures in
//! them are not, and must hold no intrinsics.

use crate::abi::BLOCK_ROWS;
use crate::pack::Block;

/// Vectors of 16 rows. A value of the type proves that the CPU has the instructions.
pub trait Rows16: Copy {
    type Int: Copy;
    type Float: Copy;
    /// How much more than its value a byte is that `bytes` gives: 128 where the dot product takes unsigned bytes only, else 0.
    const BYTE_ZERO: u32;

    /// While a block comes from memory, asks for the weights that follow these after a while.
    fn prefetch(self, w: &Block, bytes: &[u8]);
    fn int(self, value: i32) -> Self::Int;
    fn float(self, value: f32) -> Self::Float;
    /// Row `r` is at bytes `4 r..4 r + 4`.
    fn load(self, bytes: &[u8; 4 * BLOCK_ROWS]) -> Self::Int;
    fn load_f16(self, bytes: &[u8; 2 * BLOCK_ROWS]) -> Self::Float;
    /// One signed byte for each row.
    fn load_i8(self, bytes: &[u8; BLOCK_ROWS]) -> Self::Float;
    /// What 16 halves of bytes as the layout has them say of [`crate::layout::SUB_SCALES`].
    fn load_sub_scales(self, bytes: &[u8; BLOCK_ROWS / 2]) -> Self::Float;
    /// 16-bit lanes shifted right by `shift` (left where it is negative), and the bits of `mask` in each byte.
    fn bits(self, bytes: Self::Int, shift: i32, mask: u8) -> Self::Int;
    fn or(self, a: Self::Int, b: Self::Int) -> Self::Int;
    fn xor(self, a: Self::Int, b: Self::Int) -> Self::Int;
    /// For each bit of a dword the one `count` before it, which for the first ones is among the last of `before`.
    fn earlier(self, bits: Self::Int, before: Self::Int, count: u32) -> Self::Int;
    /// `table[q]` for each byte, which is less than 16; where its bit of `fifth` is set, `table[16 + q]`.
    fn lookup_32(self, table: &[i8; 32], q: Self::Int, fifth: Self::Int, bit: usize) -> Self::Int;
    /// `table[q]` for each byte, which is less than 16.
    fn lookup(self, table: &[i8; 16], q: Self::Int) -> Self::Int;
    /// Signed bytes as dot products take them: `BYTE_ZERO` more.
    fn bytes(self, bytes: Self::Int) -> Self::Int;
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

/// Four bytes in one dword, the first lowest.
#[inline(always)]
pub fn dword([a, b, c, d]: [i8; 4]) -> i32 {
    i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8])
}
