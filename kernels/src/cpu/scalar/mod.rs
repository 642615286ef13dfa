//! The reference: what each kernel computes, in the plainest way. Sums are f32, in the order of the inputs.

pub mod activation;
pub mod attention;
pub mod elementwise;
pub mod linear;
pub mod norm;
pub mod rope;

use super::Isa;

#[derive(Clone, Copy)]
pub struct Scalar;

impl Isa for Scalar {
    unsafe fn assume() -> Scalar {
        Scalar
    }
}
