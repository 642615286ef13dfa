//! The values that a format's numbers stand for, before scale and minimum.

use std::cmp::Ordering;

use tc_kernels::layout::{Format, Values};

/// Integers `low..=high` with numbers `zero` higher, or a table.
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
        };
        let table = match format.values {
            Values::Table(table) => table.get(..1 << format.bits),
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

    /// Sum of the squared distances to the nearest points.
    pub fn squared_error(&self, values: &[f32], scale: f32, min: f32) -> f32 {
        match self.table {
            None => squared_error(values, scale, min, |x| round(x, self.low, self.high)),
            Some(_) => squared_error(values, scale, min, |x| self.value(x)),
        }
    }
}

/// Sums of so many lanes are what compilers make vectors of.
const LANES: usize = 8;

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
