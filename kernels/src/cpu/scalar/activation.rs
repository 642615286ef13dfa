//! SwiGLU.

use crate::abi::ACT_GROUP;
use crate::cpu::q8::{GroupsMut, put};

pub fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        *y = silu(*gate) * up;
    }
}

pub fn swiglu_q8(gate: &[f32], up: &[f32], y: GroupsMut) {
    for ((gate, up), y) in gate.chunks(ACT_GROUP).zip(up.chunks(ACT_GROUP)).zip(y) {
        let mut values = [0.0; ACT_GROUP];
        swiglu(gate, up, &mut values[..gate.len()]);
        put(&values, y);
    }
}
