//! GPTQ's and AWQ's matrices: both store the transpose, packed, with scales of f16 or bf16 for each group and output.
//!
//! - GPTQ (AutoGPTQ, GPTQModel): `qweight` packs consecutive inputs of an output into a word, `qzeros` consecutive outputs of a
//!   group; `g_idx` says each input's group. Zero points are one less than they mean, except in files of version 2.
//! - AWQ (gemm): both pack eight outputs into a word, interleaved.

use super::super::error::{Result, error};
use super::super::tensor::Tensor;
use super::codes::{Along, Codes, Layout};
use super::matrix::{Groups, Packed, Zeros};
use super::scheme::GroupConfig;
use super::{Encoding, Parts, check_groups, group_list};

const WIDTHS: [u32; 4] = [2, 3, 4, 8];

const INPUTS_TOGETHER: Layout = Layout { along: Along::Cols, words_down: true, interleaved: false, one_less: false };
const OUTPUTS_TOGETHER: Layout = Layout { along: Along::Rows, words_down: false, interleaved: false, one_less: false };

pub fn gptq(config: &GroupConfig, parts: &mut Parts) -> Result<Tensor> {
    let (words, zeros) = (parts.need("qweight")?, parts.need("qzeros")?);
    let scales = parts.need("scales")?.into_transposed()?;
    let rows = scales.rows();
    let bits = width(config, &zeros, rows)?;
    let cols = words.rows().saturating_mul(32) / bits as usize;
    let group = run_length(config, cols, scales.cols())?;
    let groups = match parts.integers("g_idx", &[Encoding::I32, Encoding::I64])? {
        Some(list) => group_list(list, cols, scales.cols(), group)?,
        None => Groups::Runs(group),
    };
    let zero_layout = Layout { one_less: config.zeros_one_less, ..OUTPUTS_TOGETHER };
    let packed = Packed {
        cols,
        bits,
        codes: Codes::in_words(&words, bits, [rows, cols], INPUTS_TOGETHER)?,
        zeros: Zeros::Coded(zero_codes(&zeros, bits, &scales, zero_layout)?),
        scales,
        groups,
    };
    Tensor::packed(&parts.name(), rows, packed)
}

pub fn awq(config: &GroupConfig, parts: &mut Parts) -> Result<Tensor> {
    let layout = Layout { interleaved: true, ..OUTPUTS_TOGETHER };
    let words = parts.need("qweight")?;
    let scales = parts.need("scales")?.into_transposed()?;
    let (rows, cols) = (scales.rows(), words.rows());
    let group = run_length(config, cols, scales.cols())?;
    let zeros = match parts.take("qzeros")? {
        Some(zeros) => Zeros::Coded(zero_codes(&zeros, config.bits, &scales, layout)?),
        None => Zeros::Middle,
    };
    let packed = Packed {
        cols,
        bits: config.bits,
        codes: Codes::in_words(&words, config.bits, [rows, cols], layout)?,
        zeros,
        scales,
        groups: Groups::Runs(group),
    };
    Tensor::packed(&parts.name(), rows, packed)
}

fn zero_codes(zeros: &Tensor, bits: u32, scales: &Tensor, layout: Layout) -> Result<Codes> {
    Codes::in_words(zeros, bits, [scales.rows(), scales.cols()], layout)
}

/// The bits of a number, from how many zero points share a word: a config may give single matrices other widths.
fn width(config: &GroupConfig, zeros: &Tensor, rows: usize) -> Result<u32> {
    let fits = |bits: &u32| rows.saturating_mul(*bits as usize).div_ceil(32) == zeros.cols();
    let bits = WIDTHS.into_iter().find(fits).ok_or_else(|| {
        error!("its qzeros have shape {:?}: no width packs {rows} zero points into a row of that", zeros.shape())
    })?;
    match config.varies || bits == config.bits {
        true => Ok(bits),
        false => Err(error!("it is stored in {bits} bits, but the config says {}", config.bits)),
    }
}

/// Columns of a group, where they are neighbours.
fn run_length(config: &GroupConfig, cols: usize, count: usize) -> Result<usize> {
    let group = match config.group {
        _ if config.varies && count > 0 && cols.is_multiple_of(count) => cols / count,
        Some(group) => group,
        None => cols.max(1),
    };
    check_groups(cols, group, count).map(|()| group)
}
