//! One matrix, from floats to a grid.

use tc_kernels::layout::Format;

use super::calibration::{Drift, Moments};
use super::gptq::Gptq;
use super::{QuantizeError, grid_of, hqq, nearest, too_large, trellis};
use crate::checkpoint::{Grid, GridRow, Scratch, Tensor};
use crate::parallel;
use crate::recipe::{Method, WeightType};

/// What is known of a matrix's inputs.
#[derive(Clone, Copy, Default)]
pub struct Inputs<'a> {
    pub moments: Option<&'a Moments>,
    /// For [`Method::Gptq`].
    pub gptq: Option<&'a Gptq>,
    /// What the matrix is to make good.
    pub drift: Option<&'a Drift>,
}

pub fn quantize(tensor: &Tensor, weight: WeightType, method: Method, inputs: Inputs) -> Result<Tensor, QuantizeError> {
    let (grid, cols) = (grid_of(weight), tensor.cols());
    let mut values = read(tensor)?;
    if let (Some(gptq), Some(drift)) = (inputs.gptq, inputs.drift) {
        gptq.correct(drift, &mut values);
    }
    let mut rows = vec![GridRow::default(); tensor.rows()];
    let importance = inputs.moments.map(Moments::importance);
    choose_scales(grid, method, &values, importance.as_deref(), &mut rows);
    if let Some(row) = rows.iter().position(|row| !row.scales.iter().chain(&row.mins).all(|value| value.is_finite())) {
        return Err(too_large(tensor, row, grid.kind).into());
    }
    if let (Method::Gptq, Some(gptq)) = (method, inputs.gptq) {
        gptq.quantize(grid, &values, &mut rows);
    }
    let mut scratch = Scratch::new(tensor.name(), grid, cols)?;
    rows.iter().try_for_each(|row| scratch.push(row))?;
    Ok(scratch.finish()?)
}

fn choose_scales(grid: Grid, method: Method, values: &[f32], importance: Option<&[f32]>, rows: &mut [GridRow]) {
    let cols = values.len() / rows.len();
    let trellis = grid.kind.format().is_some_and(Format::has_trellis);
    parallel::for_each(values.chunks(16 * cols).zip(rows.chunks_mut(16)), |(values, rows)| {
        if trellis {
            values
                .chunks(cols)
                .zip(&mut *rows)
                .for_each(|(values, row)| trellis::choose_scales(grid, values, importance, row));
            // GPTQ finds other numbers.
            if method != Method::Gptq {
                trellis::put(grid, values, importance, rows);
            }
            return;
        }
        for (values, row) in values.chunks(cols).zip(rows) {
            match method {
                Method::Hqq => hqq::quantize(grid, values, row),
                Method::Nearest | Method::Awq | Method::Gptq => nearest::quantize(grid, values, importance, row),
            }
        }
    });
}

/// All numbers, row after row.
pub fn read(tensor: &Tensor) -> Result<Vec<f32>, QuantizeError> {
    let cols = tensor.cols();
    let mut values = vec![0.0; tensor.rows() * cols];
    values.chunks_mut(cols).enumerate().try_for_each(|(row, out)| tensor.read_row(row, out))?;
    Ok(values)
}
