//! What CPUs with a dot product of bytes have in common; they differ in how many vectors hold 16 rows.
//!
//! Functions here are generic, so they carry no `#[target_feature]`: they are always inlined into ones that do.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

pub mod linear_q8;
pub mod mirror;

use crate::abi::BLOCK_ROWS;
use crate::pack::Block;

/// Vectors of 16 rows. A value of the type proves that the CPU has the instructions.
pub trait Rows16: Copy {
    type Int: Copy;
    type Float: Copy;
    /// Tokens that share a decoding of the weights: as many as leave registers for these.
    const TOKENS: usize;

    /// While a block comes from memory, asks for the weights that follow these after a while.
    fn prefetch(self, w: &Block, bytes: &[u8]);
    fn int(self, value: i32) -> Self::Int;
    fn float(self, value: f32) -> Self::Float;
    /// Row `r` is at bytes `4 r..4 r + 4`.
    fn load(self, bytes: &[u8; 4 * BLOCK_ROWS]) -> Self::Int;
    fn load_f16(self, bytes: &[u8; 2 * BLOCK_ROWS]) -> Self::Float;
    /// The bytes' low and high four bits.
    fn nibbles(self, bytes: Self::Int) -> [Self::Int; 2];
    /// Adds 128 to signed bytes, which makes them unsigned.
    fn unsigned(self, bytes: Self::Int) -> Self::Int;
    /// `sums + w · x` over each row's four bytes; `w` is unsigned, `x` signed and the same for all rows.
    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int;
    /// `-(value << BITS)` in each row.
    fn minus_shifted<const BITS: u32>(self, value: i32) -> Self::Int;
    fn to_float(self, value: Self::Int) -> Self::Float;
    fn mul(self, a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    fn rows(self, value: Self::Float) -> [f32; BLOCK_ROWS];
}
