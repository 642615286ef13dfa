//! The arithmetic of `Rows16` without vectors: what the shared code computes can be checked on any machine, and to the
//! bit against the vectors where there are some.

use crate::abi::BLOCK_ROWS;
use crate::cpu::Isa;
use crate::cpu::scalar::Scalar;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::half::f16_to_f32;

use crate::layout::SUB_SCALES;
use crate::pack::Block;

use super::rows::Rows16;
use super::vnni::{self, Dot};

#[derive(Clone, Copy)]
pub struct Mirror;

impl Isa for Mirror {
    type Base = Scalar;

    unsafe fn assume() -> Mirror {
        Mirror
    }

    fn base(self) -> Scalar {
        Scalar
    }

    fn linear_q8(self, w: Block, x: Q8Rows, y: Epilogue) {
        vnni::linear_q8(self, w, x, y);
    }
}

fn each<T, F: FnMut(usize) -> T>(f: F) -> [T; BLOCK_ROWS] {
    core::array::from_fn(f)
}

impl Rows16 for Mirror {
    type Int = [[u8; 4]; BLOCK_ROWS];
    type Float = [f32; BLOCK_ROWS];
    const BYTE_ZERO: u32 = 128;

    fn prefetch(self, _: &Block, _: &[u8]) {}

    fn int(self, value: i32) -> Self::Int {
        [value.to_le_bytes(); BLOCK_ROWS]
    }

    fn float(self, value: f32) -> Self::Float {
        [value; BLOCK_ROWS]
    }

    fn load(self, bytes: &[u8; 4 * BLOCK_ROWS]) -> Self::Int {
        each(|r| bytes.as_chunks().0[r])
    }

    fn load_f16(self, bytes: &[u8; 2 * BLOCK_ROWS]) -> Self::Float {
        each(|r| f16_to_f32(u16::from_le_bytes(bytes.as_chunks().0[r])))
    }

    fn load_i8(self, bytes: &[u8; BLOCK_ROWS]) -> Self::Float {
        bytes.map(|b| f32::from(b as i8))
    }

    fn load_sub_scales(self, bytes: &[u8; BLOCK_ROWS / 2]) -> Self::Float {
        let number = |r: usize| bytes[r % 8] >> (r / 8 * 4) & 15;
        each(|r| f32::from(SUB_SCALES[usize::from(number(r))]))
    }

    fn bits(self, bytes: Self::Int, shift: i32, mask: u8) -> Self::Int {
        let shifted = |b: u8| if shift < 0 { b << -shift } else { b >> shift };
        bytes.map(|row| row.map(|b| shifted(b) & mask))
    }

    fn or(self, a: Self::Int, b: Self::Int) -> Self::Int {
        each(|r| core::array::from_fn(|j| a[r][j] | b[r][j]))
    }

    fn xor(self, a: Self::Int, b: Self::Int) -> Self::Int {
        each(|r| core::array::from_fn(|j| a[r][j] ^ b[r][j]))
    }

    fn earlier(self, bits: Self::Int, before: Self::Int, count: u32) -> Self::Int {
        let [bits, before] = [bits, before].map(|rows| rows.map(u32::from_le_bytes));
        each(|r| (bits[r] << count | before[r] >> (32 - count)).to_le_bytes())
    }

    fn lookup_32(self, table: &[i8; 32], q: Self::Int, fifth: Self::Int, bit: usize) -> Self::Int {
        let index = |r: usize, i: usize| usize::from(q[r][i]) + 16 * usize::from(fifth[r][i] >> bit & 1);
        core::array::from_fn(|r| core::array::from_fn(|i| table[index(r, i)] as u8))
    }

    fn lookup(self, table: &[i8; 16], q: Self::Int) -> Self::Int {
        q.map(|row| row.map(|q| table[usize::from(q)] as u8))
    }

    fn bytes(self, bytes: Self::Int) -> Self::Int {
        bytes.map(|row| row.map(|b| b.wrapping_add(128)))
    }

    fn weighted_sum(self, sums: [i16; 2], factors: [i16; 2]) -> Self::Int {
        let [first, last] = [0, 1].map(|i| i32::from(sums[i]) * i32::from(factors[i]));
        self.int(first + last)
    }

    fn to_float(self, value: Self::Int) -> Self::Float {
        value.map(|v| i32::from_le_bytes(v) as f32)
    }

    fn mul(self, a: Self::Float, b: Self::Float) -> Self::Float {
        each(|r| a[r] * b[r])
    }

    fn fma(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float {
        each(|r| a[r].mul_add(b[r], c[r]))
    }

    fn rows(self, value: Self::Float) -> [f32; BLOCK_ROWS] {
        value
    }
}

impl Dot for Mirror {
    const TOKENS: usize = 8;

    fn run<const KIND: u32>(self, w: &Block, x: Q8Rows, y: &Epilogue) {
        vnni::all_tokens::<Mirror, KIND>(self, w, x, y);
    }

    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int {
        each(|r| {
            let products = w[r].iter().zip(x).map(|(&w, x)| i32::from(w) * i32::from(x));
            (i32::from_le_bytes(sums[r]) + products.sum::<i32>()).to_le_bytes()
        })
    }
}
