//! Llama 3.2 as Meta publishes it quantized (quantization-aware training with LoRA, and SpinQuant), in the layout of torchao's
//! `Int8DynActInt4WeightLinear`: a `weight` of signed bytes and `scales` beside it. Linear layers hold 4 bits in groups; the
//! embedding and the head hold 8 bits with a scale for each row.

use super::super::error::{Result, error};
use super::super::tensor::Tensor;
use super::codes::Codes;
use super::matrix::{Groups, Packed, Zeros};
use super::scheme::MetaConfig;
use super::{Parts, check_groups, scales};

pub fn matrix(config: &MetaConfig, parts: &mut Parts) -> Result<Tensor> {
    let bytes = parts.need("weight")?;
    let (rows, cols) = (bytes.rows(), bytes.cols());
    let scales = scales(parts.need("scales")?, rows)?;
    let whole_rows = parts.base.ends_with("tok_embeddings") || parts.base.ends_with("output");
    let (bits, group) = if whole_rows { (8, cols) } else { (4, config.group) };
    check_groups(cols, group, scales.cols())?;
    if let Some(zeros) = parts.take("zeros")? {
        check_zeros(&zeros)?;
    }
    let codes = Codes::in_bytes(bytes, 1 << (bits - 1))?;
    Tensor::packed(
        &parts.name(),
        rows,
        Packed { cols, bits, codes, scales, zeros: Zeros::Middle, groups: Groups::Runs(group) },
    )
}

/// Its writers save zero points of 0, or none.
fn check_zeros(zeros: &Tensor) -> Result<()> {
    let mut values = vec![0.0; zeros.cols()];
    for row in 0..zeros.rows() {
        zeros.read_row(row, &mut values)?;
        if let Some(odd) = values.iter().find(|zero| **zero != 0.0) {
            return Err(error!("its row {row} has a zero point of {odd}, which is not supported here"));
        }
    }
    Ok(())
}
