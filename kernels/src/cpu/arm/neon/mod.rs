//! NEON: every aarch64 CPU that runs an operating system has it.
//!
//! Functions that use vectors carry `#[target_feature]`, so the compiler lets only each other call them without `unsafe`;
//! the one way in is the impl of `Isa` below, whose token proves that the CPU has the features.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

mod activation;
mod lanes;
mod linear;
mod linear_quantized;
mod norm;
mod rope;

use crate::cpu::Isa;
use crate::cpu::cached::RopeKv;
use crate::cpu::q8::GroupsMut;
use crate::cpu::scalar::Scalar;
use crate::cpu::views::{Epilogue, Rows};
use crate::pack::Block;

#[derive(Clone, Copy)]
pub struct Neon(());

/// Each method calls the function of its name.
macro_rules! calls {
    ($($module:ident::$name:ident($($arg:ident: $type:ty),*);)*) => {
        $(fn $name(self, $($arg: $type),*) {
            // SAFETY: a value of `Neon` proves that the CPU has the features.
            unsafe { $module::$name($($arg),*) }
        })*
    };
}

impl Isa for Neon {
    type Base = Scalar;
    const LINEAR_TOKENS: usize = linear_quantized::TOKENS;

    unsafe fn assume() -> Neon {
        Neon(())
    }

    fn base(self) -> Scalar {
        Scalar
    }

    calls! {
        norm::rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]);
        norm::rms_norm_q8(x: &[f32], w: &[f32], eps: f32, y: GroupsMut);
        norm::quantize_q8(x: &[f32], y: GroupsMut);
        linear::linear(w: Block, x: Rows, y: Epilogue);
        activation::swiglu(gate: &[f32], up: &[f32], y: &mut [f32]);
        activation::swiglu_q8(gate: &[f32], up: &[f32], y: GroupsMut);
        rope::rope_kv(token: RopeKv);
    }
}
