//! The second moments of a linear's inputs.

use crate::linalg::{add_gram, dot};

/// Over the rows `x` of a calibration.
#[derive(Clone, Debug)]
pub struct Moments {
    size: usize,
    count: usize,
    /// The sum of `x xᵀ`; only the upper triangle.
    gram: Vec<f32>,
    /// The sum of |x|.
    magnitude: Vec<f32>,
}

impl Moments {
    pub fn new(size: usize) -> Moments {
        Moments { size, count: 0, gram: vec![0.0; size * size], magnitude: vec![0.0; size] }
    }

    pub fn add(&mut self, rows: &[&[f32]]) {
        add_gram(&mut self.gram, rows, self.size);
        self.count += rows.len();
        for row in rows {
            self.magnitude.iter_mut().zip(*row).for_each(|(sum, x)| *sum += x.abs());
        }
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// The mean of `x xᵀ`: upper triangle, row-major.
    pub fn mean_gram(&self) -> Vec<f32> {
        let factor = self.factor();
        self.gram.iter().map(|sum| sum * factor).collect()
    }

    /// The mean of x², which is the importance of the columns that meet it.
    pub fn importance(&self) -> Vec<f32> {
        let factor = self.factor();
        (0..self.size).map(|i| self.gram[i * (self.size + 1)] * factor).collect()
    }

    /// The mean of |x|.
    pub fn magnitude(&self) -> Vec<f32> {
        let factor = self.factor();
        self.magnitude.iter().map(|sum| sum * factor).collect()
    }

    /// `v H vᵀ`, where `H` is the mean of `x xᵀ`: the mean square of what `v` makes of an input.
    pub fn form(&self, v: &[f32]) -> f64 {
        let row = |(i, value): (usize, &f32)| {
            let above = &self.gram[i * self.size..(i + 1) * self.size];
            f64::from(value * (value * above[i] + 2.0 * dot(&above[i + 1..], &v[i + 1..])))
        };
        v.iter().enumerate().map(row).sum::<f64>() * f64::from(self.factor())
    }

    /// As if every input had been divided by the factor of its column.
    pub fn divide(&mut self, factors: &[f32]) {
        for ((row, magnitude), by) in self.gram.chunks_mut(self.size).zip(&mut self.magnitude).zip(factors) {
            *magnitude /= by;
            row.iter_mut().zip(factors).for_each(|(value, factor)| *value /= by * factor);
        }
    }

    fn factor(&self) -> f32 {
        (self.count.max(1) as f32).recip()
    }
}
