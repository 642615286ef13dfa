//! HQQ (Badri and Shaji 2023): minima that make most errors small and let a few be large, found without any text.
//!
//! Half-quadratic splitting of `|w - ŵ|^p` with p = 0.7: in turn, the part of each error that counts as an outlier is set aside (a
//! shrinkage), and the minimum is fitted to the rest. Errors are measured in steps, so that the method does not depend on the weights'
//! magnitude as its authors' does.

use super::as_f16;
use super::points::{Points, inverse};
use super::scales::{self, Values};
use crate::checkpoint::{Grid, GridRow};

const NORM: f32 = 0.7;
const FIRST_BETA: f32 = 10.0;
const BETA_GROWTH: f32 = 1.01;
const ROUNDS: usize = 20;

/// For grids with one scale and one minimum a group.
pub fn quantize(grid: Grid, row: &[f32], out: &mut GridRow) {
    out.resize(grid, row.len());
    let Some(points) = grid.kind.format().map(Points::of) else { return };
    for (g, values) in row.chunks(grid.group).enumerate() {
        let (scale, start) = scales::range(&points, Values { values, importance: None }, as_f16);
        let scale = as_f16(scale);
        out.scales[g] = scale;
        out.mins[g] = minimum(&points, values, scale, start);
        points.put(values, scale, out.mins[g], &mut out.q[g * grid.group..][..values.len()]);
    }
}

fn minimum(points: &Points, values: &[f32], scale: f32, start: f32) -> f32 {
    let (mut best, mut least) = (start, norm(points, values, scale, start));
    let (mut min, mut beta) = (start, FIRST_BETA);
    for _ in 0..ROUNDS {
        let inner = values.iter().map(|value| {
            let point = points.value((value - min) * inverse(scale));
            let error = value - min - scale * point;
            value - scale * (shrink(error * inverse(scale), beta) + point)
        });
        min = as_f16(inner.sum::<f32>() / values.len() as f32);
        beta *= BETA_GROWTH;
        let norm = norm(points, values, scale, min);
        if norm >= least {
            break;
        }
        (best, least) = (min, norm);
    }
    best
}

/// What of an error is set aside as an outlier.
fn shrink(error: f32, beta: f32) -> f32 {
    let size = error.abs();
    if size == 0.0 { 0.0 } else { error.signum() * (size - size.powf(NORM - 1.0) / beta).max(0.0) }
}

fn norm(points: &Points, values: &[f32], scale: f32, min: f32) -> f32 {
    let error = |value: &f32| value - min - scale * points.value((value - min) * inverse(scale));
    values.iter().map(|value| error(value).abs().powf(NORM)).sum()
}
