//! SwiGLU, by the steps of AVX2's, which make the same bits.

use core::arch::x86_64::*;

use crate::abi::ACT_GROUP;
use crate::cpu::q8::GroupsMut;
use crate::cpu::x86::avx2::{load_group, put};
use crate::exp::{LEAST, LN_2, MOST, POLYNOMIAL};

/// `e^x` as `avx2::lanes::exp` has it.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(x: __m512) -> __m512 {
    let x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(LEAST)), _mm512_set1_ps(MOST));
    let n = _mm512_roundscale_ps::<0>(_mm512_mul_ps(x, _mm512_set1_ps(core::f32::consts::LOG2_E)));
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[0]), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[1]), r);
    let mut p = _mm512_set1_ps(POLYNOMIAL[0]);
    for &c in &POLYNOMIAL[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
    }
    let p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0)));
    let power = _mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)));
    _mm512_mul_ps(p, _mm512_castsi512_ps(power))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn silu_times(gate: __m512, up: __m512) -> __m512 {
    let denominator = _mm512_add_ps(_mm512_set1_ps(1.0), exp(_mm512_sub_ps(_mm512_setzero_ps(), gate)));
    _mm512_mul_ps(_mm512_div_ps(gate, denominator), up)
}

/// Up to 16 values, followed by zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(x: &[f32]) -> __m512 {
    let mask = if x.len() < 16 { (1u16 << x.len()) - 1 } else { u16::MAX };
    // SAFETY: no more is read than there is.
    unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((gate, up), y) in gate.chunks(16).zip(up.chunks(16)).zip(y.chunks_mut(16)) {
        let mut values = [0.0; 16];
        // SAFETY: 16 values.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), silu_times(load(gate), load(up))) };
        y.copy_from_slice(&values[..y.len()]);
    }
}

/// Groups whose values are found before any is quantized: the two in turn would each wait for the other.
const GROUPS: usize = 8;

#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub fn swiglu_q8(gate: &[f32], up: &[f32], y: GroupsMut) {
    const SOME: usize = GROUPS * ACT_GROUP;
    let mut y = y.into_iter();
    for (gate, up) in gate.chunks(SOME).zip(up.chunks(SOME)) {
        let mut values = [0.0; SOME];
        swiglu(gate, up, &mut values[..gate.len()]);
        for (values, y) in values[..gate.len().next_multiple_of(ACT_GROUP)].chunks(ACT_GROUP).zip(&mut y) {
            put(load_group(values), y);
        }
    }
}
