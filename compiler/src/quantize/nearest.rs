//! The nearest point of a grid for each number of a row.

use super::points::{Points, inverse, round};
use super::scales::{self, Values};
use super::{as_f16, trellis, up_to_f16};
use crate::checkpoint::{Grid, GridRow};

/// With the importance of the columns, scales are searched; without, they come from the extremes.
pub fn quantize(grid: Grid, row: &[f32], importance: Option<&[f32]>, out: &mut GridRow) {
    out.resize(grid, row.len());
    let Some(format) = grid.kind.format() else { return };
    if format.has_trellis() {
        trellis::choose_scales(grid, row, importance, out);
        return trellis::put(grid, row, importance, std::slice::from_mut(out));
    }
    let points = Points::of(format);
    for (g, values) in (Values { values: row, importance }).chunks(grid.group).enumerate() {
        let first = g * grid.group;
        if format.sub > 0 {
            sub_scaled(&points, g, first, values, out);
            continue;
        }
        let (scale, min) = match format.min {
            true => scales::range(&points, values, as_f16),
            false => (scales::scale(&points, values, as_f16), 0.0),
        };
        out.scales[g] = as_f16(scale);
        if format.min {
            out.mins[g] = min;
        }
        points.put(values.values, out.scales[g], min, &mut out.q[first..][..values.values.len()]);
    }
}

/// The group's scale and minimum are such that the largest of its parts needs a factor of 127.
fn sub_scaled(points: &Points, g: usize, first: usize, values: Values, out: &mut GridRow) {
    let len = points.format.sub;
    let parts = || values.chunks(len).enumerate().map(|(i, part)| (first / len + i, part));
    if points.format.min {
        let mins: Vec<f32> = parts().map(|(_, part)| scales::range(points, part, |min| min).1).collect();
        out.mins[g] = factor(&mins);
        for ((at, _), min) in parts().zip(mins) {
            out.sub_mins[at] = multiple(min, out.mins[g]);
        }
    }
    let min = |out: &GridRow, at: usize| out.mins.get(g).map_or(0.0, |min| min * f32::from(out.sub_mins[at]));
    let ideal = |(at, part): (usize, Values)| match points.format.min {
        true => scales::range(points, part, |_| min(out, at)).0,
        false => scales::scale(points, part, |scale| scale),
    };
    let ideals: Vec<f32> = parts().map(ideal).collect();
    out.scales[g] = factor(&ideals);
    for ((at, part), ideal) in parts().zip(ideals) {
        out.sub_scales[at] = multiple(ideal, out.scales[g]);
        let scale = out.scales[g] * f32::from(out.sub_scales[at]);
        points.put(part.values, scale, min(out, at), &mut out.q[at * len..][..part.values.len()]);
    }
}

fn factor(values: &[f32]) -> f32 {
    up_to_f16(values.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / 127.0)
}

fn multiple(value: f32, factor: f32) -> i8 {
    round(value * inverse(factor), -127.0, 127.0) as i8
}
