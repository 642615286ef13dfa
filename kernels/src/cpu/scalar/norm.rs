//! RMS norm and quantization of activations.

use crate::abi::ACT_GROUP;
use crate::cpu::q8::{GroupsMut, put};

/// `1 / sqrt(mean(x^2) + eps)`
pub fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let squares: f32 = x.iter().map(|v| v * v).sum();
    1.0 / (squares / x.len() as f32 + eps).sqrt()
}

pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let inverse = inverse_rms(x, eps);
    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
        *y = x * inverse * w;
    }
}

pub fn rms_norm_q8(x: &[f32], w: &[f32], eps: f32, y: GroupsMut) {
    let inverse = inverse_rms(x, eps);
    for ((x, w), y) in x.chunks(ACT_GROUP).zip(w.chunks(ACT_GROUP)).zip(y) {
        let mut values = [0.0; ACT_GROUP];
        for ((value, x), w) in values.iter_mut().zip(x).zip(w) {
            *value = x * inverse * w;
        }
        put(&values, y);
    }
}

pub fn quantize_q8(x: &[f32], y: GroupsMut) {
    for (x, y) in x.chunks(ACT_GROUP).zip(y) {
        let mut values = [0.0; ACT_GROUP];
        values[..x.len()].copy_from_slice(x);
        put(&values, y);
    }
}
