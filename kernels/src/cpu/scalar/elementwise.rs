//! The elementwise kernels.

use crate::cpu::drive::Operation;

use crate::exp::exp;

/// `a + scale * b`
pub struct Add;
/// `a * b`
pub struct Mul;
/// `a / (1 + e^-a)`, with the `e^x` of `exp.rs`
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
        a / (1.0 + exp(-a))
    }
}

impl Operation for Scale {
    const BINARY: bool = false;
    fn apply(a: f32, _: f32, scale: f32) -> f32 {
        scale * a
    }
}
