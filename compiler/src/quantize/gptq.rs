//! GPTQ: each column's rounding error is made good by the columns that are still to be rounded.
//!
//! Frantar et al. 2022 update the weights with rows of the Cholesky factor of the inverse second moments. Chee et al. 2023 (QuIP) show that
//! this is the same as rounding column `j` of `w_j + Σ_{k < j} (w_k - ŵ_k) M_kj`, where `H = M D Mᵀ` with `M` unit upper triangular. That
//! takes no inverse, and the error `tr (w - ŵ) H (w - ŵ)ᵀ` falls out as `Σ_j D_j r_j²`, where `r_j` is what rounding column `j` changed.
//!
//! Columns come in the order of their importance. Scales and groups are fixed before, so the order costs nothing at run time.

use std::sync::Mutex;

use super::QuantizeError;
use super::calibration::Moments;
use super::points::Points;
use crate::checkpoint::{Grid, GridRow};
use crate::linalg::{Factor, add_scaled};
use crate::parallel;

/// What is added to the moments' diagonal, as a part of its mean, so that directions the text does not visit are not left to chance. Where
/// that does not do it is tenfold.
const DAMPING: f32 = 0.01;
const MOST_DAMPING: f32 = 100.0;
/// Rows that pass the factor together.
const TILE: usize = 16;

/// The moments of a matrix's inputs, factored.
pub struct Gptq {
    /// Columns in the order of processing.
    order: Vec<usize>,
    factor: Factor,
}

impl Gptq {
    pub fn new(moments: &Moments, name: &str) -> Result<Gptq, QuantizeError> {
        let (size, gram, importance) = (moments.size(), moments.mean_gram(), moments.importance());
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]).then(a.cmp(b)));
        let mean = importance.iter().sum::<f32>() / size as f32;
        let entry = |i: usize, j: usize| gram[i.min(j) * size + i.max(j)];
        let mut damping = DAMPING;
        while damping < MOST_DAMPING {
            // Where no input ever differs from zero, every rounding is as good.
            let added = if mean > 0.0 { damping * mean } else { 1.0 };
            let permuted = order.iter().enumerate().flat_map(|(row, &i)| {
                order.iter().enumerate().map(move |(col, &j)| entry(i, j) + if row == col { added } else { 0.0 })
            });
            if let Some(factor) = Factor::new(permuted.collect(), size) {
                return Ok(Gptq { order, factor });
            }
            damping *= 10.0;
        }
        Err(QuantizeError::NotFinite(name.to_string()))
    }

    /// Replaces the numbers of `rows`, whose scales are chosen; `weights` are their values. Returns `tr (w - ŵ) H (w - ŵ)ᵀ`.
    pub fn quantize(&self, grid: Grid, weights: &[f32], rows: &mut [GridRow]) -> f64 {
        let size = self.order.len();
        let total = Mutex::new(0.0);
        let tiles = weights.chunks(TILE * size).zip(rows.chunks_mut(TILE));
        parallel::for_each(tiles, |(weights, rows)| {
            let error = self.tile(grid, weights, rows);
            if let Ok(mut total) = total.lock() {
                *total += error;
            }
        });
        total.into_inner().unwrap_or(f64::NAN)
    }

    fn tile(&self, grid: Grid, weights: &[f32], rows: &mut [GridRow]) -> f64 {
        let Some(points) = grid.kind.format().map(Points::of) else { return 0.0 };
        let size = self.order.len();
        let mut targets: Vec<f32> =
            weights.chunks_exact(size).flat_map(|row| self.order.iter().map(|&col| row[col])).collect();
        let scales: Vec<Vec<(f32, f32)>> = rows.iter().map(|row| by_column(row, grid)).collect();
        let mut total = 0.0;
        for (step, &col) in self.order.iter().enumerate() {
            let (right, pivot) = (self.factor.right_of(step), f64::from(self.factor.pivots()[step]));
            let tile = targets.chunks_exact_mut(size).zip(weights.chunks_exact(size)).zip(rows.iter_mut().zip(&scales));
            for ((target, weights), (row, scales)) in tile {
                let (scale, min) = scales[col];
                let (q, point) = points.nearest(target[step], scale, min);
                row.q[col] = q;
                let changed = f64::from(target[step] - point);
                total += pivot * changed * changed;
                add_scaled(&mut target[step + 1..], weights[col] - point, right);
            }
        }
        total
    }
}

fn by_column(row: &GridRow, grid: Grid) -> Vec<(f32, f32)> {
    row.segments(grid)
        .flat_map(|segment| std::iter::repeat_n((segment.scale, segment.min), segment.end - segment.begin))
        .collect()
}
