//! Numbers of any quantized kind as f32: `value * scale + min`, rounded once where there is a minimum.

use core::arch::x86_64::*;

use crate::abi::ACT_GROUP;
use crate::cpu::x86::numbers::{self, COLUMNS, Numbers, factor};
use crate::cpu::x86::prefetch;
use crate::cpu::x86::rows::Rows16;
use crate::layout::{Values, block_bytes};
use crate::pack::{Block, NOTHING};

use super::linear::{Float, Step};
use super::{Avx2, both};

/// Inputs `32 s..32 s + 32`.
///
/// # Safety
/// `out` may be written.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn step<const KIND: u32>(isa: Avx2, w: &Block, s: usize, out: *mut Step) {
    // SAFETY: the caller's promise; a step has 32 inputs.
    each::<KIND>(isa, w, s, |i, w| unsafe { out.cast::<Float>().add(i).write(w) });
}

/// Calls `take(i, weights of input 32 s + i)` for all 32.
#[inline(always)]
pub fn each<const KIND: u32>(isa: Avx2, w: &Block, s: usize, mut take: impl FnMut(usize, Float)) {
    let format = const { numbers::format::<KIND>() };
    let (g, within) = (s * ACT_GROUP / w.group, s * ACT_GROUP % w.group / ACT_GROUP);
    let group = &w.bytes[g * block_bytes(w.kind, w.group, w.group)..];
    let size = format.sub_bytes() + format.number_bytes();
    let bytes = &group[format.header_bytes() + within * size..][..size];
    prefetch(w, bytes);
    let (subs, numbers) = bytes.split_at(format.sub_bytes());
    let before = if format.has_trellis() { w.before(format, s) } else { &NOTHING };
    let numbers = Numbers::<Avx2, KIND>::of(isa, numbers, before);
    let columns = COLUMNS / format.parts();
    for part in 0..format.parts() {
        let scale = factor::<Avx2, KIND>(isa, group, subs, (0, part));
        let min = match format.min {
            true => factor::<Avx2, KIND>(isa, group, subs, (1, part)),
            false => isa.mul(scale, isa.float(-(numbers::zero::<Avx2>(format) as f32))),
        };
        for c in part * columns..(part + 1) * columns {
            let w = numbers.column(isa, c);
            for j in 0..4 {
                take(4 * c + j, value::<KIND>(isa, w, j, scale, min));
            }
        }
    }
}

/// Byte `j` of each row's four.
#[inline(always)]
fn value<const KIND: u32>(isa: Avx2, w: [__m256i; 2], j: usize, scale: Float, min: Float) -> Float {
    let format = const { numbers::format::<KIND>() };
    if matches!(format.values, Values::From { .. } | Values::Trellis(_)) {
        let count = 8 * j as i32;
        let low =
            both!(h => _mm256_and_si256(_mm256_srlv_epi32(w[h], _mm256_set1_epi32(count)), _mm256_set1_epi32(255)));
        return isa.fma(isa.to_float(low), scale, min);
    }
    // Moved to the top and back down with its sign.
    let count = 24 - 8 * j as i32;
    let signed = both!(h => _mm256_srai_epi32::<24>(_mm256_sllv_epi32(w[h], _mm256_set1_epi32(count))));
    let value = isa.to_float(signed);
    if format.min { isa.fma(value, scale, min) } else { isa.mul(value, scale) }
}
