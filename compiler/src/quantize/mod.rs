//! Round-to-nearest quantization of matrix rows onto the grids of the packed kinds.
//!
//! Scales and minima are rounded to f16, as they are stored, before the numbers are computed from them; so quantizing what
//! was quantized before finds the same grid again. Numbers are -127..=127 for int8, -8..=7 for int4, and 0..=15 for int4 with
//! minima: the convention of [`crate::checkpoint::Grid`].

mod nearest;
#[cfg(test)]
mod tests;

use tc_kernels::half::{f16_to_f32, f32_to_f16};
use tc_kernels::layout::Kind;
use tc_kernels::pack::QuantizedRow;

use crate::checkpoint::{CheckpointError, Grid, Tensor};
use crate::recipe::WeightType;

/// A row on a grid, owned; see [`QuantizedRow`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GridRow {
    pub q: Vec<i8>,
    pub scales: Vec<f32>,
    pub mins: Vec<f32>,
}

impl GridRow {
    fn resize(&mut self, cols: usize, weight: WeightType) {
        let groups = cols.div_ceil(weight.group as usize);
        self.q.resize(cols, 0);
        self.scales.resize(groups, 0.0);
        self.mins.resize(if weight.kind == Kind::I4Min { groups } else { 0 }, 0.0);
    }

    pub fn view(&self) -> QuantizedRow<'_> {
        QuantizedRow { q: &self.q, scales: &self.scales, mins: &self.mins }
    }
}

/// Reads rows of a tensor onto a grid. A tensor that is on the grid already is copied, everything else is rounded to it.
#[derive(Debug)]
pub struct RowQuantizer {
    weight: WeightType,
    floats: Vec<f32>,
}

impl RowQuantizer {
    /// `weight.kind` is a quantized one.
    pub fn new(weight: WeightType) -> Self {
        Self { weight, floats: Vec::new() }
    }

    pub fn read(&mut self, tensor: &Tensor, row: usize, out: &mut GridRow) -> Result<(), CheckpointError> {
        out.resize(tensor.cols(), self.weight);
        if !is_on_grid(tensor, self.weight) || !copy(self.weight.kind, tensor, row, out)? {
            self.floats.resize(tensor.cols(), 0.0);
            tensor.read_row(row, &mut self.floats)?;
            nearest::quantize(self.weight, &self.floats, out);
        }
        match out.scales.iter().chain(&out.mins).all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(CheckpointError::new(format_args!(
                "tensor {}: row {row} has values too large for {} with f16 scales",
                tensor.name(),
                self.weight.kind.name()
            ))),
        }
    }
}

/// False where the row has a -128, which no quantizer writes and packed int8 has no room for: such a row is rounded anew.
fn copy(kind: Kind, tensor: &Tensor, row: usize, out: &mut GridRow) -> Result<bool, CheckpointError> {
    tensor.read_row_grid(row, &mut out.q, &mut out.scales, &mut out.mins)?;
    for value in out.scales.iter_mut().chain(&mut out.mins) {
        *value = as_f16(*value);
    }
    if kind == Kind::I4 {
        // A tensor's numbers are -8..8, a packed row's 0..16.
        out.q.iter_mut().for_each(|q| *q += 8);
    }
    Ok(!out.q.contains(&i8::MIN))
}

/// The nearest number that f16 has.
fn as_f16(value: f32) -> f32 {
    f16_to_f32(f32_to_f16(value))
}

/// Whether the tensor's own numbers are what `weight` stores.
pub fn is_on_grid(tensor: &Tensor, weight: WeightType) -> bool {
    let (bits, has_min) = match weight.kind {
        Kind::I8 => (8, false),
        Kind::I4 => (4, false),
        Kind::I4Min => (4, true),
        Kind::F32 | Kind::F16 | Kind::Bf16 => return false,
    };
    tensor.grid() == Some(Grid { bits, group: weight.group as usize, has_min })
}
