//! The nearest point of a grid for each number of a row.

use tc_kernels::layout::{Format, Values};

use super::{as_f16, up_to_f16};
use crate::checkpoint::{Grid, GridRow};

pub fn quantize(grid: Grid, row: &[f32], out: &mut GridRow) {
    out.resize(grid, row.len());
    let Some(format) = grid.kind.format() else { return };
    let points = Points::of(format);
    for (g, values) in row.chunks(grid.group).enumerate() {
        let first = g * grid.group;
        if format.sub > 0 {
            sub_scaled(&points, g, first, values, out);
            continue;
        }
        let q = &mut out.q[first..][..values.len()];
        match format.min {
            true => (out.scales[g], out.mins[g]) = with_minimum(&points, values, q),
            false => out.scales[g] = symmetric(&points, values, q),
        }
    }
}

/// The values that a format's numbers stand for: integers `low..=high` with numbers `zero` higher, or a table.
struct Points {
    format: Format,
    low: f32,
    high: f32,
    zero: f32,
    table: Option<&'static [i8]>,
}

impl Points {
    fn of(format: Format) -> Self {
        let last = ((1u32 << format.bits) - 1) as u8;
        let (low, high) = match format.values {
            // -128 has no counterpart.
            Values::Signed if !format.min => (-127, 127),
            Values::Signed => (-128, 127),
            Values::From { .. } | Values::Table(_) => (format.value(0), format.value(last)),
        };
        let table = match format.values {
            Values::Table(table) => table.get(..1 << format.bits),
            Values::From { .. } | Values::Signed => None,
        };
        Self { format, low: low as f32, high: high as f32, zero: f32::from(format.zero()), table }
    }

    fn put(&self, values: &[f32], scale: f32, min: f32, q: &mut [i8]) {
        let inverse = inverse(scale);
        for (q, value) in q.iter_mut().zip(values) {
            *q = match self.table {
                None => (nearest((value - min) * inverse, self.low, self.high) + self.zero) as i8,
                Some(table) => nearest_of(table, value * inverse) as i8,
            };
        }
    }

    /// Squared.
    fn error(&self, values: &[f32], scale: f32) -> f32 {
        let inverse = inverse(scale);
        let point = |x: f32| match self.table {
            None => nearest(x, self.low, self.high),
            Some(table) => f32::from(table[nearest_of(table, x)]),
        };
        let errors = values.iter().map(|value| value - scale * point(value * inverse));
        errors.map(|error| error * error).sum()
    }

    /// The value farthest from zero becomes the lowest point or the highest one, whichever has the smaller squared error
    /// after `rounded`.
    fn scale(&self, values: &[f32], rounded: impl Fn(f32) -> f32) -> f32 {
        let largest = largest(values);
        let high = rounded(largest.abs() / self.high);
        if self.low == -self.high {
            return high;
        }
        let low = rounded(largest / self.low);
        if self.error(values, low) <= self.error(values, high) { low } else { high }
    }

    /// A scale and a minimum that reach from the lowest value to the highest.
    fn range(&self, values: &[f32], rounded: impl Fn(f32) -> f32) -> (f32, f32) {
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let min = rounded(low - self.low * ((high - low) / (self.high - self.low)));
        ((high - min).max(0.0) / self.high, min)
    }
}

fn symmetric(points: &Points, values: &[f32], q: &mut [i8]) -> f32 {
    let scale = points.scale(values, as_f16);
    points.put(values, scale, 0.0, q);
    scale
}

fn with_minimum(points: &Points, values: &[f32], q: &mut [i8]) -> (f32, f32) {
    let (scale, min) = points.range(values, as_f16);
    let scale = as_f16(scale);
    points.put(values, scale, min, q);
    (scale, min)
}

/// The group's scale and minimum are such that the largest of its parts needs a factor of 127.
fn sub_scaled(points: &Points, g: usize, first: usize, values: &[f32], out: &mut GridRow) {
    let len = points.format.sub;
    let parts = || values.chunks(len).enumerate().map(|(i, part)| (first / len + i, part));
    if points.format.min {
        out.mins[g] = factor(parts().map(|(_, part)| points.range(part, |min| min).1));
        for (at, part) in parts() {
            out.sub_mins[at] = multiple(points.range(part, |min| min).1, out.mins[g]);
        }
    }
    let min = |out: &GridRow, at: usize| out.mins.get(g).map_or(0.0, |min| min * f32::from(out.sub_mins[at]));
    let ideal = |out: &GridRow, at: usize, part: &[f32]| match points.format.min {
        true => points.range(part, |_| min(out, at)).0,
        false => points.scale(part, |scale| scale),
    };
    out.scales[g] = factor(parts().map(|(at, part)| ideal(out, at, part)));
    for (at, part) in parts() {
        out.sub_scales[at] = multiple(ideal(out, at, part), out.scales[g]);
        let scale = out.scales[g] * f32::from(out.sub_scales[at]);
        points.put(part, scale, min(out, at), &mut out.q[at * len..][..part.len()]);
    }
}

fn factor(values: impl Iterator<Item = f32>) -> f32 {
    up_to_f16(values.fold(0.0f32, |largest, value| largest.max(value.abs())) / 127.0)
}

fn multiple(value: f32, factor: f32) -> i8 {
    nearest(value * inverse(factor), -127.0, 127.0) as i8
}

/// The value farthest from zero, with its sign.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest: f32, value| if value.abs() > largest.abs() { *value } else { largest })
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { scale.recip() }
}

/// Which number of a sorted table is nearest.
fn nearest_of(table: &[i8], x: f32) -> usize {
    table.windows(2).filter(|pair| f32::from(pair[0]) + f32::from(pair[1]) < 2.0 * x).count()
}

/// The nearest integer between two. Adding 1.5 * 2^23 leaves no bits for a fraction; unlike `round` this vectorizes on every
/// target.
fn nearest(value: f32, low: f32, high: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    value.clamp(low, high) + SHIFT - SHIFT
}
