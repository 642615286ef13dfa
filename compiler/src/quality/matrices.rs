//! What rounding did to each matrix.

use serde::Serialize;
use tc_kernels::layout::matrix_bytes;

use crate::checkpoint::{CheckpointError, GridRow, Tensor};
use crate::parallel;
use crate::quantize::{Quantized, RowQuantizer};
use crate::recipe::{Assignment, WeightType};

/// Rows that a worker takes at a time.
const ROWS: usize = 64;

/// An export's matrices, and what they were.
#[derive(Debug)]
pub struct Matrices {
    pub quantized: Quantized,
    pub weights: Assignment,
}

#[derive(Clone, Debug, Serialize)]
pub struct MatrixQuality {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub kind: &'static str,
    pub group: u32,
    pub method: &'static str,
    pub bytes: u64,
    /// The squares of what rounding changed, over those of the numbers. None of floats.
    pub error: Option<f64>,
}

impl Matrices {
    pub fn measure(&self) -> Result<Vec<MatrixQuality>, CheckpointError> {
        self.stored().map(|(name, tensor, weight)| self.of(name, tensor, weight)).collect()
    }

    fn stored(&self) -> impl Iterator<Item = (&str, &Tensor, WeightType)> {
        let head = |name: &str| name == "head" && self.weights.shared_head;
        self.weights.names().filter(move |name| !head(name)).filter_map(|name| {
            let tied = || self.quantized.tensors.get("embed").filter(|_| name == "head");
            let tensor = self.quantized.tensors.get(name).or_else(tied)?;
            Some((name, tensor, self.weights.get(name)?))
        })
    }

    fn of(&self, name: &str, stored: &Tensor, weight: WeightType) -> Result<MatrixQuality, CheckpointError> {
        let (rows, cols) = (stored.rows(), stored.cols());
        let floats = self.quantized.floats.get(name).unwrap_or(stored);
        let error = weight.kind.is_quantized().then(|| error(floats, stored, weight)).transpose()?;
        Ok(MatrixQuality {
            name: name.to_string(),
            rows,
            cols,
            kind: weight.kind.name(),
            group: weight.group,
            method: self.weights.method(name).unwrap_or_default().name(),
            bytes: matrix_bytes(weight.kind, rows, cols, weight.group as usize) as u64,
            error,
        })
    }
}

/// `‖stored - floats‖² / ‖floats‖²`.
fn error(floats: &Tensor, stored: &Tensor, weight: WeightType) -> Result<f64, CheckpointError> {
    let mut parts: Vec<_> = (0..stored.rows()).step_by(ROWS).map(|first| (first, Ok([0.0; 2]))).collect();
    parallel::for_each(parts.iter_mut(), |(first, sums)| {
        *sums = squares(floats, stored, weight, *first..stored.rows().min(*first + ROWS));
    });
    let mut total = [0.0; 2];
    for (_, sums) in parts {
        let sums = sums?;
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    Ok(if total[1] > 0.0 { total[0] / total[1] } else { 0.0 })
}

fn squares(
    floats: &Tensor,
    stored: &Tensor,
    weight: WeightType,
    rows: std::ops::Range<usize>,
) -> Result<[f64; 2], CheckpointError> {
    let mut quantizer = RowQuantizer::new(weight);
    let (mut on_grid, mut before, mut after) = (GridRow::default(), vec![0.0; stored.cols()], vec![0.0; stored.cols()]);
    let mut sums = [0.0; 2];
    for row in rows {
        floats.read_row(row, &mut before)?;
        quantizer.read(stored, row, &mut on_grid)?;
        on_grid.values(quantizer.grid(), &mut after);
        for (before, after) in before.iter().zip(&after).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            sums[0] += (after - before) * (after - before);
            sums[1] += before * before;
        }
    }
    Ok(sums)
}
