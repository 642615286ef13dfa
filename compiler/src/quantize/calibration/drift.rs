//! What a float model's values have more than those that the quantized layers before a matrix give: what the matrix can make good.
//!
//! The outputs of a matrix `W` that the model should have are `W x̄` (and `r̄ - r` more where the result is added to a residual `r` that has
//! drifted), its inputs are `x`. The best matrix for them is `W + E H⁻¹` with `E = Σ (W (x̄ - x) + (r̄ - r)) xᵀ` and `H = Σ x xᵀ`.
//!
//! Not all of it is made good: where inputs are noisy, the best fit makes outputs smaller, in one layer after another, until nothing is left of
//! the model. How much is was found by trial (docs/quantization.md has figures).

use crate::linalg::{add_combination, add_product};

/// What part is made good of the drift of inputs, and of that of the residual.
const OF_INPUTS: f32 = 0.25;
const OF_RESIDUAL: f32 = 0.5;
/// Rows of a sum that stay in the cache while those of a matrix pass.
const BLOCK: usize = 32;

/// Means over the rows of a calibration.
#[derive(Clone, Debug)]
pub struct Drift {
    size: usize,
    count: usize,
    /// The sum of `(x̄ - x) xᵀ`.
    inputs: Vec<f32>,
    /// The sum of `(r̄ - r) xᵀ`, a row for each output; empty where the result is not added to anything.
    residual: Vec<f32>,
}

/// Rows that belong together.
pub struct Pairs<'a> {
    exact: &'a [&'a [f32]],
    rounded: &'a [&'a [f32]],
}

impl<'a> Pairs<'a> {
    pub fn of([exact, rounded]: &'a [Vec<&'a [f32]>; 2]) -> Pairs<'a> {
        Pairs { exact, rounded }
    }

    fn differences(&self) -> Vec<Vec<f32>> {
        let difference =
            |(exact, rounded): (&&[f32], &&[f32])| exact.iter().zip(*rounded).map(|(a, b)| a - b).collect();
        self.exact.iter().zip(self.rounded).map(difference).collect()
    }
}

impl Drift {
    pub fn new(size: usize, residual: usize) -> Drift {
        Drift { size, count: 0, inputs: vec![0.0; size * size], residual: vec![0.0; residual * size] }
    }

    pub fn add(&mut self, inputs: &Pairs, residual: &Pairs) {
        let add = |sum: &mut [f32], pairs: &Pairs| {
            let differences = pairs.differences();
            let rows: Vec<&[f32]> = differences.iter().map(Vec::as_slice).collect();
            add_product(sum, &rows, sum.len() / self.size, inputs.rounded);
        };
        add(&mut self.inputs, inputs);
        if !self.residual.is_empty() {
            add(&mut self.residual, residual);
        }
        self.count += inputs.rounded.len();
    }

    /// As if every input had been divided by the factor of its column.
    pub fn divide(&mut self, factors: &[f32]) {
        for (row, by) in self.inputs.chunks_mut(self.size).zip(factors) {
            row.iter_mut().zip(factors).for_each(|(value, factor)| *value /= by * factor);
        }
        for row in self.residual.chunks_mut(self.size) {
            row.iter_mut().zip(factors).for_each(|(value, factor)| *value /= factor);
        }
    }

    /// The rows of `E` from `first` on, as far as it is made good, where those of the matrix are `weights`.
    pub fn of_rows(&self, first: usize, weights: &[f32]) -> Vec<f32> {
        let size = self.size;
        let mut sums = match self.residual.is_empty() {
            true => vec![0.0; weights.len()],
            false => self.residual[first * size..][..weights.len()].iter().map(|sum| OF_RESIDUAL * sum).collect(),
        };
        let weights: Vec<f32> = weights.iter().map(|weight| OF_INPUTS * weight).collect();
        for (block, inputs) in self.inputs.chunks(BLOCK * size).enumerate() {
            for (sums, weights) in sums.chunks_exact_mut(size).zip(weights.chunks_exact(size)) {
                add_combination(sums, &weights[block * BLOCK..][..inputs.len() / size], inputs, size);
            }
        }
        let factor = (self.count.max(1) as f32).recip();
        sums.iter_mut().for_each(|value| *value *= factor);
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn a_part_of_each_drift_is_made_good() {
        let (size, outputs, count) = (5, 3, 7);
        let values = [(1, size), (2, size), (3, outputs), (4, outputs)].map(|(seed, width)| noise(seed, count * width));
        let rows = |i: usize, width: usize| values[i].chunks(width).collect::<Vec<_>>();
        let (inputs, residual) = ([rows(0, size), rows(1, size)], [rows(2, outputs), rows(3, outputs)]);
        let mut drift = Drift::new(size, outputs);
        drift.add(&Pairs::of(&inputs), &Pairs::of(&residual));
        let weights = noise(5, outputs * size);
        let found = drift.of_rows(1, &weights[size..]);
        for (at, found) in found.iter().enumerate() {
            let (row, col) = (1 + at / size, at % size);
            let of_token = |token: usize| {
                let change = |pair: &[Vec<&[f32]>; 2], i: usize| pair[0][token][i] - pair[1][token][i];
                let of_inputs: f32 = (0..size).map(|i| weights[row * size + i] * change(&inputs, i)).sum();
                (OF_INPUTS * of_inputs + OF_RESIDUAL * change(&residual, row)) * inputs[1][token][col]
            };
            let wanted = (0..count).map(of_token).sum::<f32>() / count as f32;
            assert!((found - wanted).abs() < 1e-5, "row {row}, column {col}: {found}, not {wanted}");
        }
    }
}
