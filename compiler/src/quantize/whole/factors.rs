//! What is tuned of a matrix: a factor for every part of a row that has a scale of its own (and a minimum, where there are minima).

use tc_kernels::layout::Format;

use super::layer::Linear;
use crate::checkpoint::{CheckpointError, Grid, GridRow, Scratch, Tensor};
use crate::linalg::dot;
use crate::quantize::{as_f16, up_to_f16};

/// Adam's decay of the mean slope and of its square: short, since there are few steps.
const DECAY: [f32; 2] = [0.8, 0.95];
const TINY: f32 = 1e-12;

pub struct Factors {
    grid: Grid,
    pub values: Vec<f32>,
    slopes: Vec<f32>,
    squares: Vec<f32>,
}

impl Factors {
    /// None for a matrix that is on no grid.
    pub fn of(tensor: &Tensor) -> Option<Factors> {
        let grid = tensor.grid()?;
        let zeros = vec![0.0; tensor.rows() * tensor.cols().div_ceil(shared(grid))];
        Some(Factors { grid, values: vec![1.0; zeros.len()], slopes: zeros.clone(), squares: zeros })
    }

    /// Multiplies the numbers of a matrix.
    pub fn apply(&self, weights: &mut [f32], cols: usize) {
        let segments = weights.chunks_exact_mut(cols).flat_map(|row| row.chunks_mut(shared(self.grid)));
        for (segment, factor) in segments.zip(&self.values) {
            segment.iter_mut().for_each(|weight| *weight *= factor);
        }
    }

    /// How a loss changes with the factors of a matrix, which has them in it: it reads `x`, gives `y`, and `dy` is how the loss changes with that.
    pub fn slopes(&self, linear: &Linear, x: &[f32], y: &[f32], dy: &[f32]) -> Vec<f32> {
        let changes = match shared(self.grid) >= linear.cols {
            true => linear.row_changes(y, dy),
            false => self.segment_changes(&linear.weights, &linear.change(x, dy), linear.cols),
        };
        changes.iter().zip(&self.values).map(|(change, factor)| change / factor).collect()
    }

    fn segment_changes(&self, weights: &[f32], changes: &[f32], cols: usize) -> Vec<f32> {
        let len = shared(self.grid);
        let rows = weights.chunks_exact(cols).zip(changes.chunks_exact(cols));
        let segments = rows.flat_map(|(weights, changes)| weights.chunks(len).zip(changes.chunks(len)));
        segments.map(|(weights, changes)| dot(weights, changes)).collect()
    }

    /// A step of Adam (Kingma and Ba 2015), the `step`th from 1 on.
    pub fn step(&mut self, slopes: &[f32], rate: f32, step: usize) {
        let [mean, square] = DECAY.map(|decay| 1.0 - decay.powi(step as i32));
        let state = self.slopes.iter_mut().zip(&mut self.squares);
        for ((value, (m, v)), slope) in self.values.iter_mut().zip(state).zip(slopes) {
            *m += (1.0 - DECAY[0]) * (slope - *m);
            *v += (1.0 - DECAY[1]) * (slope * slope - *v);
            *value -= rate * (*m / mean) / ((*v / square).sqrt() + TINY);
        }
    }

    /// The matrix with its factors in its scales and minima.
    pub fn into_tensor(self, tensor: &Tensor) -> Result<Tensor, CheckpointError> {
        let mut scratch = Scratch::new(tensor.name(), self.grid, tensor.cols())?;
        let (mut row, together) = (GridRow::default(), self.grid.group / shared(self.grid));
        for (at, factors) in self.values.chunks_exact(tensor.cols().div_ceil(shared(self.grid))).enumerate() {
            tensor.read_row_grid(at, &mut row)?;
            multiply(&mut row.scales, &mut row.sub_scales, factors, together);
            multiply(&mut row.mins, &mut row.sub_mins, factors, together);
            scratch.push(&row)?;
        }
        scratch.finish()
    }
}

/// Columns that share a factor: those that share a scale, unless this has too few bits to be moved by a little.
fn shared(grid: Grid) -> usize {
    if grid.kind.format().is_some_and(Format::has_trellis) { grid.group } else { grid.segment() }
}

/// Multiplies what a row's segments have by their factors; `together` of them share a unit, and the largest of them keeps all bits of its sub.
fn multiply(units: &mut [f32], subs: &mut [i8], factors: &[f32], together: usize) {
    const MOST: f32 = 127.0;
    if subs.is_empty() || together == 1 {
        units.iter_mut().zip(factors).for_each(|(unit, factor)| *unit = as_f16(*unit * factor));
        return;
    }
    for ((unit, subs), factors) in units.iter_mut().zip(subs.chunks_mut(together)).zip(factors.chunks(together)) {
        let wanted: Vec<f32> = subs.iter().zip(factors).map(|(sub, factor)| *unit * f32::from(*sub) * factor).collect();
        let largest = wanted.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        *unit = up_to_f16(largest / MOST);
        let inverse = if *unit > 0.0 { unit.recip() } else { 0.0 };
        subs.iter_mut().zip(&wanted).for_each(|(sub, value)| *sub = (value * inverse).round() as i8);
    }
}
