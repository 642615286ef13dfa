//! The elementwise kernels.

use crate::cpu::drive::Operation;

use super::activation::silu;

/// `a + scale * b`
pub struct Add;
/// `a * b`
pub struct Mul;
pub struct Silu;
/// `scale * a`
pub struct Scale;

impl Operation for Add {
    const BINARY: bool = true;
    fn apply(a: f32, b: f32, scale: f32) -> f32 {
        a + scale * b
    }
}

impl Operation for Mul {
    const BINARY: bool = true;
    fn apply(a: f32, b: f32, _: f32) -> f32 {
        a * b
    }
}

impl Operation for Silu {
    const BINARY: bool = false;
    fn apply(a: f32, _: f32, _: f32) -> f32 {
        silu(a)
    }
}

impl Operation for Scale {
    const BINARY: bool = false;
    fn apply(a: f32, _: f32, scale: f32) -> f32 {
        scale * a
    }
}
