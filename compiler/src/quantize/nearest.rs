//! The nearest point of a grid for each number of a row.

use tc_kernels::layout::Kind;

use super::{GridRow, as_f16};
use crate::recipe::WeightType;

/// Fills `out`, which has room for the row.
pub fn quantize(weight: WeightType, row: &[f32], out: &mut GridRow) {
    let size = weight.group as usize;
    let groups = row.chunks(size).zip(out.q.chunks_mut(size)).zip(&mut out.scales);
    match weight.kind {
        Kind::I4Min => {
            for (((values, q), scale), min) in groups.zip(&mut out.mins) {
                (*scale, *min) = int4_with_minimum(values, q);
            }
        }
        Kind::I4 => groups.for_each(|((values, q), scale)| *scale = symmetric_int4(values, q)),
        _ => groups.for_each(|((values, q), scale)| *scale = symmetric_int8(values, q)),
    }
}

fn symmetric_int8(values: &[f32], q: &mut [i8]) -> f32 {
    let scale = as_f16(largest(values).abs() / 127.0);
    let inverse = inverse(scale);
    for (q, value) in q.iter_mut().zip(values) {
        *q = nearest(value * inverse, -127.0, 127.0) as i8;
    }
    scale
}

/// 4 bits reach to -8 on one side and to 7 on the other. Either the largest value becomes -8, whatever its sign, or ±7;
/// the scale with the smaller squared error is taken. Packed numbers have 8 added.
fn symmetric_int4(values: &[f32], q: &mut [i8]) -> f32 {
    let largest = largest(values);
    let (full, even) = (as_f16(largest / -8.0), as_f16(largest.abs() / 7.0));
    let scale = if int4_error(values, full) <= int4_error(values, even) { full } else { even };
    let inverse = inverse(scale);
    for (q, value) in q.iter_mut().zip(values) {
        *q = (nearest(value * inverse, -8.0, 7.0) + 8.0) as i8;
    }
    scale
}

fn int4_error(values: &[f32], scale: f32) -> f32 {
    let inverse = inverse(scale);
    let errors = values.iter().map(|value| value - scale * nearest(value * inverse, -8.0, 7.0));
    errors.map(|error| error * error).sum()
}

fn int4_with_minimum(values: &[f32], q: &mut [i8]) -> (f32, f32) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let min = as_f16(low);
    let scale = as_f16((high - min).max(0.0) / 15.0);
    let inverse = inverse(scale);
    for (q, value) in q.iter_mut().zip(values) {
        *q = nearest((value - min) * inverse, 0.0, 15.0) as i8;
    }
    (scale, min)
}

/// The value farthest from zero, with its sign.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest: f32, value| if value.abs() > largest.abs() { *value } else { largest })
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { scale.recip() }
}

/// The nearest integer between two. Adding 1.5 * 2^23 leaves no bits for a fraction; unlike `round` this vectorizes on every
/// target.
fn nearest(value: f32, low: f32, high: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    value.clamp(low, high) + SHIFT - SHIFT
}
