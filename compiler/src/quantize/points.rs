//! The values that a format's numbers stand for, before scale and minimum.

use std::cmp::Ordering;

use tc_kernels::layout::{Format, Values};

use crate::linalg::wide;

/// Integers `low..=high` with numbers `zero` higher, or a table. (Of a trellis all levels; which numbers mean them is for `trellis` to say.)
pub struct Points {
    pub format: Format,
    pub low: f32,
    pub high: f32,
    zero: f32,
    table: Option<&'static [i8]>,
}

impl Points {
    pub fn of(format: Format) -> Self {
        let last = ((1u32 << format.bits) - 1) as u8;
        let (low, high) = match format.values {
            // -128 has no counterpart.
            Values::Signed if !format.min => (-127, 127),
            Values::Signed => (-128, 127),
            Values::From { .. } | Values::Table(_) => (format.value(0), format.value(last)),
            Values::Trellis(_) => (format.value(0), format.value(2 * last + 1)),
        };
        let table = match format.values {
            Values::Table(table) => table.get(..1 << format.bits),
            Values::Trellis(table) => table.get(..2 << format.bits),
            Values::From { .. } | Values::Signed => None,
        };
        Self { format, low: low as f32, high: high as f32, zero: f32::from(format.zero()), table }
    }

    /// The nearest value to `x`.
    pub fn value(&self, x: f32) -> f32 {
        match self.table {
            None => round(x, self.low, self.high),
            Some(table) => f32::from(table[nearest_of(table, x)]),
        }
    }

    /// The number of the point nearest to `value`, and the point.
    pub fn nearest(&self, value: f32, scale: f32, min: f32) -> (i8, f32) {
        let x = (value - min) * inverse(scale);
        match self.table {
            None => {
                let integer = round(x, self.low, self.high);
                ((integer + self.zero) as i8, scale * integer + min)
            }
            Some(table) => {
                let q = nearest_of(table, x);
                (q as i8, scale * f32::from(table[q]) + min)
            }
        }
    }

    /// What a number stands for.
    pub fn of_number(&self, q: i8) -> f32 {
        self.format.value(q as u8) as f32
    }

    pub fn put(&self, values: &[f32], scale: f32, min: f32, q: &mut [i8]) {
        let inverse = inverse(scale);
        match self.table {
            None => {
                let (low, high, zero) = (self.low, self.high, self.zero as i32);
                for (q, value) in q.iter_mut().zip(values) {
                    *q = (shifted((value - min) * inverse, low, high).to_bits() as i32).wrapping_add(zero) as i8;
                }
            }
            Some(table) => {
                for (q, value) in q.iter_mut().zip(values) {
                    *q = nearest_of(table, value * inverse) as i8;
                }
            }
        }
    }

    /// What a fit of scale and minimum takes of values with weights.
    pub fn weighted(&self, values: &[f32], weights: &[f32], scale: f32, min: f32) -> Weighted {
        let (low, high) = (self.low, self.high);
        match self.table.map(|table| (table.len(), table)) {
            None => weighted(values, weights, scale, min, |x| round(x, low, high)),
            Some((4, table)) => weighted(values, weights, scale, min, climb::<4>(table)),
            Some((8, table)) => weighted(values, weights, scale, min, climb::<8>(table)),
            Some((32, table)) => weighted(values, weights, scale, min, climb::<32>(table)),
            Some((_, table)) => weighted(values, weights, scale, min, climb::<16>(table)),
        }
    }

    /// Sum of the squared distances to the nearest points.
    pub fn squared_error(&self, values: &[f32], scale: f32, min: f32) -> f32 {
        match self.table {
            None => squared_error(values, scale, min, |x| round(x, self.low, self.high)),
            Some(_) => squared_error(values, scale, min, |x| self.value(x)),
        }
    }
}

/// Sums of so many lanes are what compilers make vectors of.
const LANES: usize = 16;

fn squared_error(values: &[f32], scale: f32, min: f32, point: impl Fn(f32) -> f32) -> f32 {
    let inverse = inverse(scale);
    let square = |value: f32| {
        let error = value - min - scale * point((value - min) * inverse);
        error * error
    };
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += square(*value);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| square(*value)).sum::<f32>()
}

/// Sums over values `v`, each with its weight `w`, and the points `p` nearest to them.
#[derive(Clone, Copy, Debug)]
pub struct Weighted {
    /// Of `w p (v - min)`.
    pub products: f32,
    /// Of `w p²`.
    pub squares: f32,
    /// Of `w (v - min - scale p)²`.
    pub error: f32,
}

fn weighted(values: &[f32], weights: &[f32], scale: f32, min: f32, point: impl Fn(f32) -> f32) -> Weighted {
    let inverse = inverse(scale);
    let mut sums = [[0.0; LANES]; 3];
    wide(
        #[inline(always)]
        || {
            for (values, weights) in values.chunks(LANES).zip(weights.chunks(LANES)) {
                let (mut v, mut w) = ([min; LANES], [0.0; LANES]);
                v[..values.len()].copy_from_slice(values);
                w[..values.len()].copy_from_slice(weights);
                for lane in 0..LANES {
                    let value = v[lane] - min;
                    let point = point(value * inverse);
                    let error = value - scale * point;
                    sums[0][lane] += w[lane] * point * value;
                    sums[1][lane] += w[lane] * point * point;
                    sums[2][lane] += w[lane] * error * error;
                }
            }
        },
    );
    let [products, squares, error] = sums.map(|lanes| lanes.iter().sum());
    Weighted { products, squares, error }
}

/// The nearest value of a sorted table, as a sum of the steps that lie below: without branches and look-ups, vectors can do it.
fn climb<const N: usize>(table: &'static [i8]) -> impl Fn(f32) -> f32 {
    let value = |i: usize| f32::from(table[i]);
    let steps: [[f32; 2]; N] = std::array::from_fn(|i| match i {
        0 => [f32::NEG_INFINITY, value(0)],
        _ => [(value(i - 1) + value(i)) / 2.0, value(i) - value(i - 1)],
    });
    move |x: f32| {
        let mut sum = 0.0;
        for [from, step] in steps {
            sum += if x > from { step } else { 0.0 };
        }
        sum
    }
}

/// The value farthest from zero, with its sign; the first of two.
pub fn largest(values: &[f32]) -> f32 {
    let (mut lows, mut highs) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for ((low, high), value) in lows.iter_mut().zip(&mut highs).zip(chunk) {
            // As vectors compare: a NaN changes nothing.
            *low = if *value < *low { *value } else { *low };
            *high = if *value > *high { *value } else { *high };
        }
    }
    let low = lows.iter().chain(rest).fold(0.0f32, |low, value| low.min(*value));
    let high = highs.iter().chain(rest).fold(0.0f32, |high, value| high.max(*value));
    match high.total_cmp(&-low) {
        Ordering::Greater => high,
        Ordering::Less => low,
        Ordering::Equal => values.iter().copied().find(|value| value.abs() == high).unwrap_or(0.0),
    }
}

pub fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { scale.recip() }
}

/// Which number of a sorted table is nearest.
fn nearest_of(table: &[i8], x: f32) -> usize {
    table.windows(2).filter(|pair| f32::from(pair[0]) + f32::from(pair[1]) < 2.0 * x).count()
}

/// The nearest integer between two. Adding 1.5 * 2^23 leaves no bits for a fraction; unlike `round` this vectorizes on every
/// target.
pub fn round(value: f32, low: f32, high: f32) -> f32 {
    shifted(value, low, high) - SHIFT
}

const SHIFT: f32 = 12_582_912.0;

/// `SHIFT` more, so that its lowest bits are the integer's.
fn shifted(value: f32, low: f32, high: f32) -> f32 {
    value.clamp(low, high) + SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use tc_kernels::layout::Kind;

    #[test]
    fn errors_and_numbers_are_those_of_the_nearest_points() {
        let values: Vec<f32> = (0..35).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0).collect();
        for format in Kind::ALL.into_iter().filter_map(Kind::format) {
            let (points, min) = (Points::of(format), if format.min { -5.0 } else { 0.0 });
            let scale = 11.0 / (points.high - points.low);
            let nearest: Vec<(i8, f32)> = values.iter().map(|value| points.nearest(*value, scale, min)).collect();
            let error: f32 = values.iter().zip(&nearest).map(|(value, (_, point))| (value - point).powi(2)).sum();
            assert!((points.squared_error(&values, scale, min) - error).abs() <= 1e-4 * error, "{format:?}");
            let weights: Vec<f32> = (0..values.len()).map(|i| 0.1 + (i % 7) as f32).collect();
            let of = |f: fn(f32, f32, f32) -> f32| -> f32 {
                let points = nearest.iter().map(|(_, point)| (point - min) / scale);
                values
                    .iter()
                    .zip(&weights)
                    .zip(points)
                    .map(|((value, weight), point)| weight * f(value - min, point, scale))
                    .sum()
            };
            let found = points.weighted(&values, &weights, scale, min);
            for (found, expected) in [
                (found.products, of(|value, point, _| value * point)),
                (found.squares, of(|_, point, _| point * point)),
                (found.error, of(|value, point, scale| (value - scale * point).powi(2))),
            ] {
                assert!((found - expected).abs() <= 1e-3 * expected.abs(), "{format:?}: {found}, not {expected}");
            }
            let mut numbers = vec![0; values.len()];
            points.put(&values, scale, min, &mut numbers);
            assert!(numbers.iter().eq(nearest.iter().map(|(number, _)| number)), "{format:?}");
        }
    }

    #[test]
    fn the_farthest_from_zero_keeps_its_sign() {
        for (values, expected) in [
            (&[1.0, -3.0, 2.0][..], -3.0),
            (&[f32::NAN, 1.0], 1.0),
            (&[2.0, -2.0], 2.0),
            (&[-2.0, 2.0], -2.0),
            (&[], 0.0),
        ] {
            let padded = [values, &[0.5; 9]].concat();
            assert_eq!(largest(&padded), if values.is_empty() { 0.5 } else { expected }, "{values:?}");
        }
    }
}
