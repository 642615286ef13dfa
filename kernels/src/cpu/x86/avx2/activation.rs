//! SwiGLU.

use core::arch::x86_64::*;

use crate::abi::ACT_GROUP;
use crate::cpu::q8::GroupsMut;

use super::lanes::{exp, load_partial, store};
use super::norm::{load_group, put};

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn silu_times(gate: __m256, up: __m256) -> __m256 {
    let one = _mm256_set1_ps(1.0);
    let denominator = _mm256_add_ps(one, exp(_mm256_sub_ps(_mm256_setzero_ps(), gate)));
    _mm256_mul_ps(_mm256_div_ps(gate, denominator), up)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((gate, up), y) in gate.chunks(8).zip(up.chunks(8)).zip(y.chunks_mut(8)) {
        let mut values = [0.0; 8];
        store(&mut values, silu_times(load_partial(gate), load_partial(up)));
        y.copy_from_slice(&values[..y.len()]);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn swiglu_q8(gate: &[f32], up: &[f32], y: GroupsMut) {
    for ((gate, up), y) in gate.chunks(ACT_GROUP).zip(up.chunks(ACT_GROUP)).zip(y) {
        let (mut values, up) = (load_group(gate), load_group(up));
        for i in 0..4 {
            values[i] = silu_times(values[i], up[i]);
        }
        put(values, y);
    }
}
