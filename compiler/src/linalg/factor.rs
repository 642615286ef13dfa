//! `H = M D Mᵀ` with `M` upper triangular, ones on its diagonal, and `D` diagonal: the Cholesky factorization that begins at the last
//! row and column.

use super::{add_combination, add_scaled, dot};
use crate::parallel;

/// Columns that are found together: their rows stay in the cache while all rows above pass by.
const BLOCK: usize = 32;

#[derive(Debug)]
pub struct Factor {
    size: usize,
    /// Above the diagonal `M`; on and below it nothing of use.
    unit: Vec<f32>,
    pivots: Vec<f32>,
}

impl Factor {
    /// Of a symmetric matrix, of which the upper triangle is read. None where it is not positive definite, as far as f32 can tell.
    pub fn new(matrix: Vec<f32>, size: usize) -> Option<Factor> {
        let mut factor = Factor { size, unit: matrix, pivots: vec![0.0; size] };
        let mut end = size;
        while end > 0 {
            let begin = end.saturating_sub(BLOCK);
            factor.add_block(begin, end)?;
            end = begin;
        }
        Some(factor)
    }

    /// Row `row` of `M`, right of the diagonal.
    pub fn right_of(&self, row: usize) -> &[f32] {
        &self.unit[row * self.size + row + 1..(row + 1) * self.size]
    }

    /// The diagonal of `D`.
    pub fn pivots(&self) -> &[f32] {
        &self.pivots
    }

    /// Adds to `sums` what rows `first..first + factors.len()` of `M` have in columns `from..`, by factors.
    pub fn add_rows(&self, first: usize, factors: &[f32], from: usize, sums: &mut [f32]) {
        add_combination(sums, factors, &self.unit[(first * self.size + from).min(self.unit.len())..], self.size);
    }

    /// Replaces each right side `b` by the `x` of `H x = b`.
    pub fn solve(&self, sides: &mut [f32]) {
        let size = self.size;
        for row in (0..size).rev() {
            for b in sides.chunks_exact_mut(size) {
                b[row] -= dot(self.right_of(row), &b[row + 1..]);
            }
        }
        for b in sides.chunks_exact_mut(size) {
            b.iter_mut().zip(&self.pivots).for_each(|(value, pivot)| *value /= pivot);
        }
        for row in 0..size {
            for b in sides.chunks_exact_mut(size) {
                let value = b[row];
                add_scaled(&mut b[row + 1..], -value, self.right_of(row));
            }
        }
    }

    /// Finds columns `begin..end`; those after are known.
    fn add_block(&mut self, begin: usize, end: usize) -> Option<()> {
        let (size, width) = (self.size, end - begin);
        // M D of the block's rows, right of the block.
        let right: Vec<f32> = (begin..end)
            .flat_map(|row| {
                let known = &self.unit[row * size + end..(row + 1) * size];
                known.iter().zip(&self.pivots[end..]).map(|(unit, pivot)| unit * pivot)
            })
            .collect();
        let (above, block) = self.unit.split_at_mut(begin * size);
        let mut corner = vec![0.0; width * width];
        for (row, values) in block.chunks_exact_mut(size).take(width).enumerate() {
            subtract_known(values, &right, begin, end);
            corner[row * width..][..width].copy_from_slice(&values[begin..end]);
        }
        factor_corner(&mut corner, &mut self.pivots[begin..end])?;
        for (values, corner) in block.chunks_exact_mut(size).zip(corner.chunks_exact(width)) {
            values[begin..end].copy_from_slice(corner);
        }
        let pivots = &self.pivots[begin..end];
        parallel::for_each(above.chunks_mut(8 * size), |rows| {
            for values in rows.chunks_exact_mut(size) {
                subtract_known(values, &right, begin, end);
                solve_row(&mut values[begin..end], &corner, pivots);
            }
        });
        Some(())
    }
}

/// Takes from a row's columns of the block what the columns after contribute.
fn subtract_known(row: &mut [f32], right: &[f32], begin: usize, end: usize) {
    let (head, known) = row.split_at_mut(end);
    if known.is_empty() {
        return;
    }
    for (value, right) in head[begin..].iter_mut().zip(right.chunks_exact(known.len())) {
        *value -= dot(known, right);
    }
}

fn factor_corner(corner: &mut [f32], pivots: &mut [f32]) -> Option<()> {
    let width = pivots.len();
    for col in (0..width).rev() {
        let row = &corner[col * width..][..width];
        let sum: f32 = (col + 1..width).map(|k| row[k] * row[k] * pivots[k]).sum();
        let pivot = row[col] - sum;
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        pivots[col] = pivot;
        for above in 0..col {
            let sum: f32 =
                (col + 1..width).map(|k| corner[above * width + k] * corner[col * width + k] * pivots[k]).sum();
            corner[above * width + col] = (corner[above * width + col] - sum) / pivot;
        }
    }
    Some(())
}

/// The row's part of `M` in the block's columns, from right to left.
fn solve_row(row: &mut [f32], corner: &[f32], pivots: &[f32]) {
    let width = row.len();
    for col in (0..width).rev() {
        let sum: f32 = (col + 1..width).map(|k| row[k] * corner[col * width + k] * pivots[k]).sum();
        row[col] = (row[col] - sum) / pivots[col];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// A positive definite matrix: `A Aᵀ` and a little of the identity.
    fn matrix(size: usize) -> Vec<f32> {
        let a = noise(size as u32, size * size);
        let entry = |i: usize, j: usize| {
            let sum: f64 = (0..size).map(|k| f64::from(a[i * size + k]) * f64::from(a[j * size + k])).sum();
            (sum / size as f64) as f32 + if i == j { 0.01 } else { 0.0 }
        };
        (0..size * size).map(|at| entry(at / size, at % size)).collect()
    }

    #[test]
    fn the_factors_make_the_matrix_again() {
        for size in [1, 2, 31, 32, 33, 100] {
            let matrix = matrix(size);
            let factor = Factor::new(matrix.clone(), size).unwrap();
            let unit = |i: usize, k: usize| match i.cmp(&k) {
                std::cmp::Ordering::Less => f64::from(factor.right_of(i)[k - i - 1]),
                std::cmp::Ordering::Equal => 1.0,
                std::cmp::Ordering::Greater => 0.0,
            };
            for (i, j) in (0..size).flat_map(|i| (0..size).map(move |j| (i, j))) {
                let made: f64 = (0..size).map(|k| unit(i, k) * f64::from(factor.pivots[k]) * unit(j, k)).sum();
                let expected = f64::from(matrix[i * size + j]);
                assert!((made - expected).abs() < 1e-4, "{size}: {i}, {j}: {made}, not {expected}");
            }
        }
    }

    #[test]
    fn a_solution_makes_the_right_side_again() {
        for size in [1, 33, 70] {
            let matrix = matrix(size);
            let mut x = noise(3, size);
            let b = x.clone();
            Factor::new(matrix.clone(), size).unwrap().solve(&mut x);
            for (row, b) in matrix.chunks(size).zip(b) {
                assert!((dot(row, &x) - b).abs() < 1e-2, "{size}: {}, not {b}", dot(row, &x));
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        assert!(Factor::new(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(Factor::new(vec![f32::NAN], 1).is_none());
    }
}
