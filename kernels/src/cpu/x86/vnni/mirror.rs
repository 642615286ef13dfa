//! The arithmetic of `Rows16` without vectors: what the shared code computes can be checked on any machine, and to the
//! bit against the vectors where there are some.

use crate::abi::BLOCK_ROWS;
use crate::cpu::Isa;
use crate::cpu::scalar::Scalar;
use crate::cpu::views::{Epilogue, Q8Rows};
use crate::half::f16_to_f32;

use crate::pack::Block;

use super::Rows16;

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
        super::linear_q8::linear_q8(self, w, x, y);
    }
}

fn each<T, F: FnMut(usize) -> T>(f: F) -> [T; BLOCK_ROWS] {
    core::array::from_fn(f)
}

impl Rows16 for Mirror {
    type Int = [[u8; 4]; BLOCK_ROWS];
    type Float = [f32; BLOCK_ROWS];
    const TOKENS: usize = 8;

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

    fn nibbles(self, bytes: Self::Int) -> [Self::Int; 2] {
        [bytes.map(|row| row.map(|b| b & 15)), bytes.map(|row| row.map(|b| b >> 4))]
    }

    fn unsigned(self, bytes: Self::Int) -> Self::Int {
        bytes.map(|row| row.map(|b| b.wrapping_add(128)))
    }

    fn dot(self, sums: Self::Int, w: Self::Int, x: [i8; 4]) -> Self::Int {
        each(|r| {
            let products = w[r].iter().zip(x).map(|(&w, x)| i32::from(w) * i32::from(x));
            (i32::from_le_bytes(sums[r]) + products.sum::<i32>()).to_le_bytes()
        })
    }

    fn minus_shifted<const BITS: u32>(self, value: i32) -> Self::Int {
        self.int(-(value << BITS))
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
