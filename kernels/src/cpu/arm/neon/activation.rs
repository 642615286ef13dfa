//! SwiGLU.

use core::arch::aarch64::*;

use crate::abi::ACT_GROUP;
use crate::cpu::q8::GroupsMut;

use super::lanes::{exp, load_partial, store};
use super::norm::{load_group, put};

#[inline]
#[target_feature(enable = "neon")]
fn silu_times(gate: float32x4_t, up: float32x4_t) -> float32x4_t {
    let denominator = vaddq_f32(vdupq_n_f32(1.0), exp(vnegq_f32(gate)));
    vmulq_f32(vdivq_f32(gate, denominator), up)
}

#[target_feature(enable = "neon")]
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((gate, up), y) in gate.chunks(4).zip(up.chunks(4)).zip(y.chunks_mut(4)) {
        let mut values = [0.0; 4];
        store(&mut values, silu_times(load_partial(gate), load_partial(up)));
        y.copy_from_slice(&values[..y.len()]);
    }
}

#[target_feature(enable = "neon")]
pub fn swiglu_q8(gate: &[f32], up: &[f32], y: GroupsMut) {
    for ((gate, up), y) in gate.chunks(ACT_GROUP).zip(up.chunks(ACT_GROUP)).zip(y) {
        let mut values = load_group(gate);
        for (value, up) in values.iter_mut().zip(load_group(up)) {
            *value = silu_times(*value, up);
        }
        put(values, y);
    }
}
