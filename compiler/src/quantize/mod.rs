//! Round-to-nearest quantization of matrix rows onto the grids of the packed kinds.
//!
//! Scales and minima are rounded to f16, as they are stored, before the numbers are computed from them; so quantizing what
//! was quantized before finds the same grid again where a group has one scale.

mod auto;
mod calibrated;
pub mod calibration;
mod descent;
mod error;
mod fold;
mod gptq;
mod hqq;
mod matrix;
#[cfg(test)]
mod method_tests;
mod nearest;
mod points;
mod probe;
mod scales;
#[cfg(test)]
mod tests;
mod trellis;
pub mod whole;

pub use auto::choose;
pub use calibrated::{Job, Quantized, needs_text};
pub use error::QuantizeError;
use tc_kernels::half::{f16_to_f32, f32_to_f16};
use tc_kernels::layout::Kind;

use crate::checkpoint::{CheckpointError, Grid, GridRow, Tensor};
use crate::recipe::WeightType;

/// Reads rows of a tensor onto a grid. A tensor that is on the grid already is copied, everything else is rounded to it.
#[derive(Debug)]
pub struct RowQuantizer {
    grid: Grid,
    floats: Vec<f32>,
}

impl RowQuantizer {
    /// `weight.kind` is a quantized one.
    pub fn new(weight: WeightType) -> Self {
        Self { grid: grid_of(weight), floats: Vec::new() }
    }

    pub fn grid(&self) -> Grid {
        self.grid
    }

    pub fn read(&mut self, tensor: &Tensor, row: usize, out: &mut GridRow) -> Result<(), CheckpointError> {
        if tensor.grid() == Some(self.grid) {
            tensor.read_row_grid(row, out)?;
            for value in out.scales.iter_mut().chain(&mut out.mins) {
                *value = as_f16(*value);
            }
        } else {
            self.floats.resize(tensor.cols(), 0.0);
            tensor.read_row(row, &mut self.floats)?;
            nearest::quantize(self.grid, &self.floats, None, out);
        }
        match out.scales.iter().chain(&out.mins).all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(too_large(tensor, row, self.grid.kind)),
        }
    }
}

fn too_large(tensor: &Tensor, row: usize, kind: Kind) -> CheckpointError {
    let (name, kind) = (tensor.name(), kind.name());
    CheckpointError::new(format_args!("tensor {name}: row {row} has values too large for {kind} with f16 scales"))
}

fn grid_of(weight: WeightType) -> Grid {
    Grid { kind: weight.kind, group: weight.group as usize }
}

/// Whether the tensor's own numbers are what `weight` stores.
pub fn is_on_grid(tensor: &Tensor, weight: WeightType) -> bool {
    tensor.grid() == Some(grid_of(weight))
}

/// The nearest number that f16 has.
fn as_f16(value: f32) -> f32 {
    f16_to_f32(f32_to_f16(value))
}

/// The least number of f16 that is not below `value`, which is not negative.
fn up_to_f16(value: f32) -> f32 {
    let nearest = f32_to_f16(value);
    f16_to_f32(if f16_to_f32(nearest) < value { nearest + 1 } else { nearest })
}
