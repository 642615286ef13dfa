//! GPTQ: each column's rounding error is made good by the columns that are still to be rounded.
//!
//! Frantar et al. 2022 update the weights with rows of the Cholesky factor of the inverse second moments. Chee et al. 2023 (QuIP) show that
//! this is the same as rounding column `j` of `w_j + Σ_{k < j} (w_k - ŵ_k) M_kj`, where `H = M D Mᵀ` with `M` unit upper triangular. That
//! takes no inverse, and the error `tr (w - ŵ) H (w - ŵ)ᵀ` falls out as `Σ_j D_j r_j²`, where `r_j` is what rounding column `j` changed.
//!
//! Columns come in the order of their importance; where the numbers have a trellis, as it passes them. Scales and groups are fixed before, so the order costs nothing at run time.

use tc_kernels::layout::{Format, Kind};

use super::QuantizeError;
use super::calibration::{Drift, Moments};
use super::descent::Descent;
use super::points::Points;
use super::trellis;
use crate::checkpoint::{Grid, GridRow};
use crate::linalg::{Factor, add_scaled};
use crate::parallel;

/// What is added to the moments' diagonal, as a part of its mean, so that directions the text does not visit are not left to chance. Where
/// that does not do it is tenfold.
const DAMPING: f32 = 0.01;
const MOST_DAMPING: f32 = 100.0;
/// Rows that pass the factor together.
const TILE: usize = 16;
/// Columns whose errors reach those after the block together.
const BLOCK: usize = 32;

/// The moments of a matrix's inputs, factored.
pub struct Gptq {
    /// Columns in the order of processing.
    order: Vec<usize>,
    factor: Factor,
    /// Damped; columns in their own order.
    hessian: Vec<f32>,
}

impl Gptq {
    /// For a matrix of this kind, and others that read the same inputs.
    pub fn new(moments: &Moments, kind: Kind, name: &str) -> Result<Gptq, QuantizeError> {
        let (size, gram, importance) = (moments.size(), moments.mean_gram(), moments.importance());
        let order = match kind.format().is_some_and(Format::has_trellis) {
            true => trellis::order(size),
            false => by_importance(&importance),
        };
        let mean = importance.iter().sum::<f32>() / size as f32;
        let entry =
            |i: usize, j: usize, added: f32| gram[i.min(j) * size + i.max(j)] + if i == j { added } else { 0.0 };
        let mut damping = DAMPING;
        while damping < MOST_DAMPING {
            // Where no input ever differs from zero, every rounding is as good.
            let added = if mean > 0.0 { damping * mean } else { 1.0 };
            let permuted = order.iter().flat_map(|&i| order.iter().map(move |&j| entry(i, j, added)));
            if let Some(factor) = Factor::new(permuted.collect(), size) {
                let hessian = (0..size).flat_map(|i| (0..size).map(move |j| entry(i, j, added))).collect();
                return Ok(Gptq { order, factor, hessian });
            }
            damping *= 10.0;
        }
        Err(QuantizeError::NotFinite(name.to_string()))
    }

    /// Moves the rows of a matrix to where they make good what is to be of the drift before them.
    pub fn correct(&self, drift: &Drift, weights: &mut [f32]) {
        let size = self.order.len();
        let tiles = weights.chunks_mut(TILE * size).enumerate();
        parallel::for_each(tiles, |(tile, weights)| {
            let drift = drift.of_rows(tile * TILE, weights);
            let permuted = drift.chunks_exact(size).flat_map(|row| self.order.iter().map(|&col| row[col]));
            let mut changes: Vec<f32> = permuted.collect();
            self.factor.solve(&mut changes);
            for (weights, changes) in weights.chunks_exact_mut(size).zip(changes.chunks_exact(size)) {
                self.order.iter().zip(changes).for_each(|(&col, change)| weights[col] += change);
            }
        });
    }

    /// Puts `rows`, whose scales are chosen, on their grid; `weights` are their values.
    pub fn quantize(&self, grid: Grid, weights: &[f32], rows: &mut [GridRow]) {
        let size = self.order.len();
        let Some(descent) = Descent::new(grid, &self.hessian) else { return };
        let tiles = weights.chunks(TILE * size).zip(rows.chunks_mut(TILE));
        parallel::for_each(tiles, |(weights, rows)| {
            self.compensate(grid, weights, rows);
            descent.improve(weights, rows);
        });
    }

    /// Numbers for some rows, column by column.
    pub fn compensate(&self, grid: Grid, weights: &[f32], rows: &mut [GridRow]) {
        let Some(format) = grid.kind.format() else { return };
        let (points, size) = (Points::of(format), self.order.len());
        let mut targets: Vec<f32> =
            weights.chunks_exact(size).flat_map(|row| self.order.iter().map(|&col| row[col])).collect();
        if format.has_trellis() {
            return trellis::compensate(grid, &self.factor, &self.order, weights, &mut targets, rows);
        }
        let scales: Vec<Vec<(f32, f32)>> = rows.iter().map(|row| by_column(row, grid)).collect();
        for (block, order) in self.order.chunks(BLOCK).enumerate() {
            let (begin, end) = (block * BLOCK, block * BLOCK + order.len());
            let tile = targets.chunks_exact_mut(size).zip(weights.chunks_exact(size)).zip(rows.iter_mut().zip(&scales));
            for ((target, weights), (row, scales)) in tile {
                let (block, rest) = target[begin..].split_at_mut(order.len());
                let mut errors = [0.0; BLOCK];
                for (i, &col) in order.iter().enumerate() {
                    let (scale, min) = scales[col];
                    let (q, point) = points.nearest(block[i], scale, min);
                    (row.q[col], errors[i]) = (q, weights[col] - point);
                    let right = self.factor.right_of(begin + i);
                    add_scaled(&mut block[i + 1..], errors[i], &right[..order.len() - i - 1]);
                }
                self.factor.add_rows(begin, &errors[..order.len()], end, rest);
            }
        }
    }
}

fn by_importance(importance: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..importance.len()).collect();
    order.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]).then(a.cmp(b)));
    order
}

fn by_column(row: &GridRow, grid: Grid) -> Vec<(f32, f32)> {
    row.segments(grid)
        .flat_map(|segment| std::iter::repeat_n((segment.scale, segment.min), segment.end - segment.begin))
        .collect()
}
