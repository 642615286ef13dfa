//! Rows of f32, and what ops do to them.

use crate::error::RunError;

/// Inputs that share a scale in a q8 row.
const Q8_GROUP: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub width: usize,
    /// Row after row, each `width` long.
    pub data: Vec<f32>,
}

impl Tensor {
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.width)
    }

    pub(super) fn map(&self, f: impl Fn(f32) -> f32) -> Tensor {
        Tensor { width: self.width, data: self.data.iter().map(|x| f(*x)).collect() }
    }

    pub(super) fn zip(&self, other: &Tensor, f: impl Fn(f32, f32) -> f32) -> Tensor {
        Tensor { width: self.width, data: self.data.iter().zip(&other.data).map(|(a, b)| f(*a, *b)).collect() }
    }

    pub(super) fn slice_cols(&self, begin: usize, end: usize) -> Tensor {
        let data = self.rows().flat_map(|row| &row[begin..end]).copied().collect();
        Tensor { width: end - begin, data }
    }

    pub(super) fn concat_cols(&self, other: &Tensor) -> Tensor {
        let data = self.rows().zip(other.rows()).flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
        Tensor { width: self.width + other.width, data }
    }

    pub(super) fn gather_rows(&self, rows: &[u32]) -> Tensor {
        let row = |index: &u32| &self.data[*index as usize * self.width..][..self.width];
        Tensor { width: self.width, data: rows.iter().flat_map(row).copied().collect() }
    }

    /// Each `chunk` columns by themselves.
    pub(super) fn rms_norm(&self, w: &[f32], eps: f32, chunk: usize) -> Tensor {
        let mut data = Vec::with_capacity(self.data.len());
        for x in self.data.chunks_exact(chunk) {
            let mean = dot(x, x) / chunk as f64;
            let scale = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
            data.extend(x.iter().zip(w).map(|(x, w)| x * scale * w));
        }
        Tensor { width: self.width, data }
    }

    /// Rotates each head of each row by the row's angles: `[cos…, sin…]` in the table.
    pub(super) fn rope(&self, table: &Tensor) -> Tensor {
        let half = table.width / 2;
        let mut y = self.clone();
        for (row, angles) in y.data.chunks_exact_mut(self.width).zip(table.rows()) {
            let (cos, sin) = angles.split_at(half);
            for head in row.chunks_exact_mut(2 * half) {
                let (low, high) = head.split_at_mut(half);
                for i in 0..half {
                    let (a, b) = (low[i], high[i]);
                    low[i] = a * cos[i] - b * sin[i];
                    high[i] = b * cos[i] + a * sin[i];
                }
            }
        }
        y
    }

    /// The values that remain of q8 rows; `Dtype::Q8` says how they round. A further plane adds what remains of the rest.
    pub(super) fn quantize_q8(&self, planes: u32) -> Tensor {
        let mut y = self.clone();
        for row in y.data.chunks_exact_mut(self.width) {
            row.chunks_mut(Q8_GROUP).for_each(round_group);
        }
        match planes {
            0 | 1 => y,
            _ => y.zip(&self.zip(&y, |x, y| x - y).quantize_q8(planes - 1), |y, rest| y + rest),
        }
    }
}

fn round_group(group: &mut [f32]) {
    let amax = group.iter().fold(0f32, |amax, x| amax.max(x.abs()));
    let inverse = 127.0 / amax;
    let (scale, inverse) = if inverse.is_finite() { (amax / 127.0, inverse) } else { (0.0, 0.0) };
    group.iter_mut().for_each(|x| *x = scale * (*x * inverse).round_ties_even());
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// A weight matrix; the rows of its parts follow each other.
pub(super) struct Matrix<'a> {
    pub parts: Vec<&'a [f32]>,
    pub cols: usize,
}

impl Matrix<'_> {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.parts.iter().flat_map(|part| part.chunks_exact(self.cols))
    }

    /// The rows of the given indices.
    pub(super) fn rows_of(&self, indices: &[u32]) -> Result<Tensor, RunError> {
        let mut data = Vec::with_capacity(indices.len() * self.cols);
        for index in indices {
            let row = self.rows().nth(*index as usize);
            data.extend_from_slice(row.ok_or_else(|| RunError(format!("token {index} is not in the vocabulary")))?);
        }
        Ok(Tensor { width: self.cols, data })
    }
}

/// `w x + bias` of each row.
pub(super) fn linear(w: &Matrix, x: &Tensor, bias: Option<&[f32]>) -> Tensor {
    let bias = |row: usize| bias.map_or(0.0, |bias| f64::from(bias[row]));
    let data = x.rows().flat_map(|x| w.rows().enumerate().map(move |(row, w)| (dot(w, x) + bias(row)) as f32));
    let data: Vec<f32> = data.collect();
    Tensor { width: w.rows().count(), data }
}
