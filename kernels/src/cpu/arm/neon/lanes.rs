//! Loads, stores and small vector functions.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::cpu::cached::Element;

#[inline]
#[target_feature(enable = "neon")]
pub fn load(x: &[f32; 4]) -> float32x4_t {
    // SAFETY: four values, any alignment.
    unsafe { vld1q_f32(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub fn store(x: &mut [f32; 4], value: float32x4_t) {
    // SAFETY: four values, any alignment.
    unsafe { vst1q_f32(x.as_mut_ptr(), value) }
}

#[inline]
#[target_feature(enable = "neon")]
pub fn load_bytes(x: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes, any alignment.
    unsafe { vld1q_u8(x.as_ptr()) }
}

/// Four 16-bit values.
#[inline]
#[target_feature(enable = "neon")]
pub fn load_halves(x: &[u8; 8]) -> uint16x4_t {
    // SAFETY: eight bytes, any alignment.
    unsafe { vreinterpret_u16_u8(vld1_u8(x.as_ptr())) }
}

/// The first four values, or as many as there are followed by zeros.
#[inline]
#[target_feature(enable = "neon")]
pub fn load_partial(x: &[f32]) -> float32x4_t {
    match x.first_chunk() {
        Some(full) => load(full),
        None => {
            let mut values = [0.0; 4];
            values[..x.len()].copy_from_slice(x);
            load(&values)
        }
    }
}

/// Four f16. Rust's own function for it needs a newer compiler than ours has to be.
#[inline]
#[target_feature(enable = "neon")]
pub fn widen(halves: uint16x4_t) -> float32x4_t {
    let value: float32x4_t;
    // SAFETY: every CPU with NEON has the instruction, and it does nothing but this.
    unsafe {
        asm!("fcvtl {value:v}.4s, {halves:v}.4h", value = out(vreg) value, halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags));
    }
    value
}

/// To f16, rounded to nearest, ties to even.
#[inline]
#[target_feature(enable = "neon")]
pub fn narrow(value: float32x4_t) -> uint16x4_t {
    let halves: uint16x4_t;
    // SAFETY: every CPU with NEON has the instruction, and it does nothing but this.
    unsafe {
        asm!("fcvtn {halves:v}.4h, {value:v}.4s", halves = out(vreg) halves, value = in(vreg) value,
            options(pure, nomem, nostack, preserves_flags));
    }
    halves
}

/// `e^x`, within 2 units in the last place for −87.3 <= x <= 88; beyond, the value at that end.
///
/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and `|r| <= ln 2 / 2`; ln 2 is split in two so that `r` keeps its bits.
/// The polynomial is Cephes' (`expf`).
#[inline]
#[target_feature(enable = "neon")]
pub fn exp(x: float32x4_t) -> float32x4_t {
    let x = vminq_f32(vmaxq_f32(x, vdupq_n_f32(-87.3)), vdupq_n_f32(88.0));
    let n = vrndnq_f32(vmulq_n_f32(x, core::f32::consts::LOG2_E));
    let r = vfmsq_f32(x, n, vdupq_n_f32(0.693_359_4));
    let r = vfmsq_f32(r, n, vdupq_n_f32(-2.121_944_4e-4));
    let mut p = vdupq_n_f32(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = vfmaq_f32(vdupq_n_f32(c), p, r);
    }
    let p = vfmaq_f32(vaddq_f32(r, vdupq_n_f32(1.0)), p, vmulq_f32(r, r));
    let power = vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)));
    vmulq_f32(p, vreinterpretq_f32_s32(power))
}

/// An element of the KV cache, four at a time.
pub trait Cell: Element {
    /// # Safety
    /// The CPU must have NEON.
    unsafe fn store4(x: &mut [Self; 4], value: float32x4_t);
}

impl Cell for f32 {
    #[inline(always)]
    unsafe fn store4(x: &mut [f32; 4], value: float32x4_t) {
        // SAFETY: the caller's promise.
        unsafe { store(x, value) }
    }
}

impl Cell for u16 {
    #[inline(always)]
    unsafe fn store4(x: &mut [u16; 4], value: float32x4_t) {
        // SAFETY: the caller's promise; four values, any alignment.
        unsafe { vst1_u16(x.as_mut_ptr(), narrow(value)) }
    }
}

impl Cell for i8 {
    #[inline(always)]
    unsafe fn store4(x: &mut [i8; 4], value: float32x4_t) {
        // SAFETY: the caller's promise.
        unsafe {
            let words = vqmovn_s32(vcvtnq_s32_f32(value));
            let bytes = vqmovn_s16(vcombine_s16(words, words));
            *x = vget_lane_u32::<0>(vreinterpret_u32_s8(bytes)).to_le_bytes().map(|byte| byte as i8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[target_feature(enable = "neon")]
    fn exp_of(x: &[f32; 4]) -> [f32; 4] {
        let mut y = [0.0; 4];
        store(&mut y, exp(load(x)));
        y
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for step in 0..100_000 {
            let x = [0, 1, 2, 3].map(|i| -87.3 + 175.3 * (4 * step + i) as f32 / 400_000.0);
            // SAFETY: every aarch64 CPU that has an operating system has NEON.
            let y = unsafe { exp_of(&x) };
            for (x, y) in x.into_iter().zip(y) {
                let exact = f64::from(x).exp();
                let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
                worst = worst.max((f64::from(y) - exact).abs() / unit);
            }
        }
        assert!(worst <= 2.0, "{worst}");
    }
}
