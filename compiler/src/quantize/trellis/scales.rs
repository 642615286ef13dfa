//! Scales of trellis-coded numbers.

use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::{Format, SUB_SCALES};
use tc_kernels::trellis::input;

use super::search::{Code, LANES, Place, Work};
use crate::checkpoint::{Grid, GridRow};
use crate::linalg::wide;
use crate::quantize::up_to_f16;

/// Scales that are tried, as parts of the one with which the largest number becomes the last level.
const PARTS: [f32; 10] = [0.42, 0.5, 0.58, 0.66, 0.74, 0.81, 0.88, 0.94, 1.0, 1.06];
/// Stored scales near the best one that a search compares.
const NEAR: usize = 4;
/// What a column counts that no input was seen in, in parts of the mean importance.
const UNSEEN: f32 = 1e-4;

/// The scales with the least squared error, each column weighted by its importance where that is known.
pub fn choose_scales(grid: Grid, row: &[f32], importance: Option<&[f32]>, out: &mut GridRow) {
    out.resize(grid, row.len());
    let Some((format, code)) = grid.kind.format().and_then(|format| Some((format, Code::of(format)?))) else { return };
    let (costs, expected, mut work) = (costs(importance, row.len()), Expected::of(format), Work::new());
    let together = grid.group / ACT_GROUP;
    for (g, (unit, subs)) in out.scales.iter_mut().zip(out.sub_scales.chunks_mut(together)).enumerate() {
        let range = g * grid.group..row.len().min((g + 1) * grid.group);
        let (row, costs) = (&row[range.clone()], &costs[range]);
        let steps = row.chunks(ACT_GROUP).zip(costs.chunks(ACT_GROUP));
        let ideals: Vec<f32> = steps.map(|(values, costs)| expected.best_scale(values, costs)).collect();
        *unit = up_to_f16(ideals.iter().copied().fold(0.0, f32::max) / 127.0);
        for (i, subs) in subs.chunks_mut(LANES / NEAR).enumerate() {
            let first = i * LANES / NEAR;
            let lanes = candidates(first, &ideals[first..][..subs.len()], *unit);
            let place = |t: usize| {
                let [weight, cost] = [row, costs].map(|all| lanes.map(|(step, _)| all[step * ACT_GROUP + input(t)]));
                Place { weight, target: weight, scale: lanes.map(|(_, sub)| f32::from(sub) * *unit), cost }
            };
            let least = work.least_costs(&code, &std::array::from_fn::<_, ACT_GROUP, _>(place));
            for (sub, (lanes, costs)) in subs.iter_mut().zip(lanes.chunks(NEAR).zip(least.chunks(NEAR))) {
                let least = (0..NEAR).fold(0, |best, i| if costs[i] < costs[best] { i } else { best });
                *sub = lanes[least].1;
            }
        }
    }
}

/// For each of some steps from `first` on, the stored scales near its ideal. Where there are fewer steps than lanes hold, the last stands for those missing.
fn candidates(first: usize, ideals: &[f32], unit: f32) -> [(usize, i8); LANES] {
    std::array::from_fn(|lane| {
        let i = (lane / NEAR).min(ideals.len() - 1);
        let above = SUB_SCALES.partition_point(|sub| f32::from(*sub) * unit < ideals[i]);
        let lowest = above.saturating_sub(NEAR / 2).min(SUB_SCALES.len() - NEAR);
        (first + i, SUB_SCALES[lowest + lane % NEAR])
    })
}

/// What a squared error in each column counts. A column that no input was seen in counts a little, so that its numbers are not left to chance.
pub fn costs(importance: Option<&[f32]>, cols: usize) -> Vec<f32> {
    let Some(importance) = importance else { return vec![1.0; cols] };
    let mean = importance.iter().sum::<f32>() / cols as f32;
    let least = if mean > 0.0 { UNSEEN * mean } else { 1.0 };
    importance.iter().map(|importance| importance + least).collect()
}

/// What numbers' errors may be expected to be, where all that is known is how far their levels are from those beside them: a row of numbers misses
/// its targets by some 0.8 of what a table of half the levels would (Marcellin and Fischer 1990).
struct Expected {
    /// The levels from the second above zero on, and how much more the squared error is from there on.
    steps: Vec<(f32, f32)>,
    /// Around zero.
    first: f32,
    highest: f32,
}

impl Expected {
    fn of(format: Format) -> Expected {
        let count = 2u8 << format.bits;
        let levels: Vec<f32> = (count / 2 - 1..count).map(|level| format.value(level) as f32).collect();
        let between = |pair: &[f32]| 0.8 * (2.0 * (pair[1] - pair[0])).powi(2) / 12.0;
        let errors: Vec<f32> = levels.windows(2).map(between).collect();
        let more = errors.windows(2).map(|pair| pair[1] - pair[0]);
        let steps = levels[1..].iter().copied().zip(more).collect();
        Expected { steps, first: errors[0], highest: levels[levels.len() - 1] }
    }

    /// Of those that are tried for a step.
    fn best_scale(&self, values: &[f32], weights: &[f32]) -> f32 {
        let values = std::array::from_fn(|i| values[i].abs());
        let full = values.iter().copied().fold(0.0, f32::max) / self.highest;
        let errors = PARTS.map(|part| (self.error(&values, weights, part * full), part * full));
        errors.into_iter().fold((f32::INFINITY, full), |best, next| if next.0 < best.0 { next } else { best }).1
    }

    /// The weighted sum for a step's magnitudes.
    fn error(&self, values: &[f32; ACT_GROUP], weights: &[f32], scale: f32) -> f32 {
        let mut errors = [self.first; ACT_GROUP];
        wide(
            #[inline(always)]
            || {
                for (level, more) in &self.steps {
                    let from = level * scale;
                    for (error, value) in errors.iter_mut().zip(values) {
                        *error += if *value > from { *more } else { 0.0 };
                    }
                }
                for ((error, value), weight) in errors.iter_mut().zip(values).zip(weights) {
                    let beyond = (value - self.highest * scale).max(0.0);
                    *error = (*error * scale * scale + beyond * beyond) * weight;
                }
            },
        );
        errors.iter().sum()
    }
}
