//! Blocks of 16 rows, from a lazy tensor to packed bytes.

use tc_kernels::abi::BLOCK_ROWS;
use tc_kernels::layout::{Kind, block_bytes};
use tc_kernels::pack::{QuantizedRow, pack_float_block, pack_quantized_block};

use super::EmitError;
use crate::checkpoint::{GridRow, Tensor};
use crate::quantize::RowQuantizer;
use crate::recipe::WeightType;

/// Packs the blocks that begin at row `first`, as many as `out` has room for.
pub fn pack_blocks(tensor: &Tensor, weight: WeightType, first: usize, out: &mut [u8]) -> Result<(), EmitError> {
    let size = block_bytes(weight.kind, tensor.cols(), weight.group as usize);
    let mut packer = Packer::new(weight, tensor.cols());
    for (index, block) in out.chunks_exact_mut(size).enumerate() {
        let start = first + index * BLOCK_ROWS;
        let rows = start..(start + BLOCK_ROWS).min(tensor.rows());
        packer.pack(tensor, rows, block)?;
    }
    Ok(())
}

/// Room for one block's rows.
struct Packer {
    weight: WeightType,
    quantizer: RowQuantizer,
    grid: Vec<GridRow>,
    floats: Vec<Vec<f32>>,
}

impl Packer {
    fn new(weight: WeightType, cols: usize) -> Self {
        let (grid, floats) = match weight.kind.is_quantized() {
            true => (vec![GridRow::default(); BLOCK_ROWS], Vec::new()),
            false => (Vec::new(), vec![vec![0.0; cols]; BLOCK_ROWS]),
        };
        Self { weight, quantizer: RowQuantizer::new(weight), grid, floats }
    }

    fn pack(&mut self, tensor: &Tensor, rows: std::ops::Range<usize>, block: &mut [u8]) -> Result<(), EmitError> {
        let count = rows.len();
        let WeightType { kind, group } = self.weight;
        for (row, grid) in rows.clone().zip(&mut self.grid) {
            self.quantizer.read(tensor, row, grid)?;
        }
        for (row, floats) in rows.zip(&mut self.floats) {
            tensor.read_row(row, floats)?;
            check_range(tensor, kind, row, floats)?;
        }
        if kind.is_quantized() {
            let views: Vec<QuantizedRow> = self.grid.iter().take(count).map(GridRow::view).collect();
            pack_quantized_block(kind, group as usize, &views, block);
        } else {
            let views: Vec<&[f32]> = self.floats.iter().take(count).map(Vec::as_slice).collect();
            pack_float_block(kind, &views, block);
        }
        Ok(())
    }
}

/// A number that a narrower float format rounds to infinity is refused.
fn check_range(tensor: &Tensor, kind: Kind, row: usize, floats: &[f32]) -> Result<(), EmitError> {
    // Halfway between the largest finite number and the next step.
    let limit = match kind {
        Kind::F16 => 65520.0,
        Kind::Bf16 => f32::from_bits(0x7f7f_8000),
        _ => return Ok(()),
    };
    match floats.iter().find(|value| value.abs() >= limit) {
        None => Ok(()),
        Some(value) => {
            let why = format!("row {row} holds {value}, too large for {}", kind.name());
            Err(EmitError::Weight(tensor.name().to_string(), why))
        }
    }
}
