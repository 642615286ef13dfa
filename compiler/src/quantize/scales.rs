//! Scales and minima of a group: from its extremes, or those with the least squared error, weighted by the importance of each column.
//!
//! The search tries scales around the one from the extremes; each is replaced by the least-squares fit to the points that it rounds to
//! (as ggml's K-quants do it), which is taken where it is better.

use super::points::{Points, Weighted, inverse, largest};

/// Where the search begins, as parts of the scale from the extremes.
const STARTS: std::ops::Range<u32> = 12..23;
const START: f32 = 0.05;

/// Values that share a scale, and the importance of each where it is known.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    pub values: &'a [f32],
    pub importance: Option<&'a [f32]>,
}

impl<'a> Values<'a> {
    /// Each value with its importance.
    fn weighted(self) -> impl Iterator<Item = (f32, f32)> {
        let importance = self.importance.unwrap_or(&[]);
        let importance = importance.iter().copied().chain(std::iter::repeat(1.0));
        self.values.iter().copied().zip(importance)
    }

    pub fn chunks(self, len: usize) -> impl Iterator<Item = Values<'a>> {
        let part = move |all: &'a [f32], i: usize| &all[i * len..all.len().min((i + 1) * len)];
        let count = self.values.len().div_ceil(len);
        (0..count).map(move |i| Values {
            values: part(self.values, i),
            importance: self.importance.map(|importance| part(importance, i)),
        })
    }

    fn error(self, points: &Points, scale: f32, min: f32) -> f32 {
        match self.importance {
            None => points.squared_error(self.values, scale, min),
            Some(importance) => points.weighted(self.values, importance, scale, min).error,
        }
    }

    /// The scale that fits best the points that `scale` rounds to.
    fn fitted(self, points: &Points, scale: f32, min: f32) -> f32 {
        let Some(importance) = self.importance else { return scale };
        let Weighted { products, squares, .. } = points.weighted(self.values, importance, scale, min);
        if squares > 0.0 { products / squares } else { scale }
    }

    /// As [`Values::fitted`], the minimum too.
    fn fitted_both(self, points: &Points, scale: f32, min: f32) -> (f32, f32) {
        let inverse = inverse(scale);
        let [mut n, mut p, mut pp, mut v, mut pv] = [0.0f64; 5];
        for (value, weight) in self.weighted() {
            let point = f64::from(points.value((value - min) * inverse));
            let (value, weight) = (f64::from(value), f64::from(weight));
            n += weight;
            p += weight * point;
            pp += weight * point * point;
            v += weight * value;
            pv += weight * point * value;
        }
        let determinant = n * pp - p * p;
        match determinant > 0.0 {
            true => (((n * pv - p * v) / determinant) as f32, ((pp * v - p * pv) / determinant) as f32),
            false => (scale, min),
        }
    }
}

/// A scale without a minimum, after `rounded`.
pub fn scale(points: &Points, values: Values, rounded: impl Fn(f32) -> f32) -> f32 {
    let simple = simple_scale(points, values, &rounded);
    if values.importance.is_none() {
        return simple;
    }
    let reach = largest(values.values).abs() / points.high.max(-points.low);
    let signs: &[f32] = if points.low == -points.high { &[1.0] } else { &[1.0, -1.0] };
    let starts = signs.iter().flat_map(|sign| STARTS.map(move |part| sign * part as f32 * START * reach));
    let fitted = starts.map(|start| rounded(values.fitted(points, start, 0.0)));
    best(fitted.map(|scale| (scale, 0.0)), (simple, 0.0), |scale, min| values.error(points, scale, min)).0
}

/// A scale and a minimum, the minimum after `rounded`.
pub fn range(points: &Points, values: Values, rounded: impl Fn(f32) -> f32) -> (f32, f32) {
    let simple = simple_range(points, values.values, &rounded);
    if values.importance.is_none() {
        return simple;
    }
    let (middle, full) = ((points.low + points.high) / 2.0, simple.0);
    let starts = STARTS.map(|part| part as f32 * START * full);
    let fitted = starts.map(|start| {
        let min = simple.1 + (full - start) * middle;
        let (scale, min) = values.fitted_both(points, start, min);
        let min = rounded(min);
        (values.fitted(points, scale, min), min)
    });
    best(fitted, simple, |scale, min| values.error(points, scale, min))
}

/// The pair with the least error; `first` where none is better.
fn best(pairs: impl Iterator<Item = (f32, f32)>, first: (f32, f32), error: impl Fn(f32, f32) -> f32) -> (f32, f32) {
    let mut best = (error(first.0, first.1), first);
    for pair in pairs {
        let error = error(pair.0, pair.1);
        if error < best.0 {
            best = (error, pair);
        }
    }
    best.1
}

/// The value farthest from zero becomes the lowest point or the highest one, whichever has the smaller squared error.
fn simple_scale(points: &Points, values: Values, rounded: impl Fn(f32) -> f32) -> f32 {
    let largest = largest(values.values);
    let high = rounded(largest.abs() / points.high);
    if points.low == -points.high {
        return high;
    }
    let low = rounded(largest / points.low);
    if values.error(points, low, 0.0) <= values.error(points, high, 0.0) { low } else { high }
}

/// From the lowest value to the highest.
fn simple_range(points: &Points, values: &[f32], rounded: impl Fn(f32) -> f32) -> (f32, f32) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let min = rounded(low - points.low * ((high - low) / (points.high - points.low)));
    ((high - min).max(0.0) / points.high, min)
}
