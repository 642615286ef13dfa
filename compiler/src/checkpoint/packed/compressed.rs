//! Matrices of compressed-tensors: `weight_packed` (or a `weight` of signed bytes), a `weight_scale` for each group, each row or
//! once, a `weight_zero_point` where they are not symmetric, `weight_shape`, and `weight_g_idx` where groups are not neighbours.

use super::super::error::{Result, error};
use super::super::tensor::Tensor;
use super::codes::{Along, Codes, Layout};
use super::matrix::{Groups, Packed, Zeros};
use super::scheme::CompressedConfig;
use super::{Encoding, Parts, group_list, scales};

const INPUTS_TOGETHER: Layout = Layout { along: Along::Cols, words_down: false, interleaved: false, one_less: false };
const OUTPUTS_TOGETHER: Layout = Layout { along: Along::Rows, words_down: true, interleaved: false, one_less: false };

/// Scales for quantizing activations, keys and values, which are quantized by what they are when the model runs.
pub fn is_about_activations(name: &str) -> bool {
    let parts = ["input_scale", "input_zero_point", "output_scale", "output_zero_point", "k_scale", "v_scale"];
    name.rsplit_once('.').is_some_and(|(_, part)| parts.contains(&part))
}

pub fn packed(config: &CompressedConfig, parts: &mut Parts) -> Result<Tensor> {
    let words = parts.need("weight_packed")?;
    let shape = parts.integers("weight_shape", &[Encoding::I64, Encoding::I32])?;
    let shape = shape.ok_or_else(|| error!("its weight_shape is missing"))?;
    let sizes: Vec<usize> = shape.iter().filter_map(|size| usize::try_from(*size).ok()).collect();
    let [rows, cols] = sizes[..] else { return Err(error!("its weight_shape is {shape:?}")) };
    let fits = |bits: &&u32| cols.saturating_mul(**bits as usize).div_ceil(32) == words.cols();
    let bits = config.bits.iter().find(fits).ok_or_else(|| {
        let (found, widths) = (words.shape(), &config.bits);
        error!("its weight_packed has shape {found:?}, which holds no {rows} x {cols} numbers of {widths:?} bits")
    })?;
    matrix(config, parts, [rows, cols], *bits, |bits| Codes::in_words(&words, bits, [rows, cols], INPUTS_TOGETHER))
}

pub fn bytes(config: &CompressedConfig, parts: &mut Parts) -> Result<Tensor> {
    let bytes = parts.need("weight")?;
    let shape = [bytes.rows(), bytes.cols()];
    matrix(config, parts, shape, 8, |bits| Codes::in_bytes(bytes, 1 << (bits - 1)))
}

fn matrix(
    config: &CompressedConfig,
    parts: &mut Parts,
    [rows, cols]: [usize; 2],
    bits: u32,
    codes: impl FnOnce(u32) -> Result<Codes>,
) -> Result<Tensor> {
    let codes = codes(bits)?;
    let scales = scales(parts.need("weight_scale")?, rows)?;
    let group = config.run_length(cols, scales.cols())?;
    let list = parts.integers("weight_g_idx", &[Encoding::I32, Encoding::I64])?;
    let groups = match list.filter(|list| list.iter().any(|of| *of != UNUSED)) {
        Some(list) => group_list(list, cols, scales.cols(), group)?,
        None => Groups::Runs(group),
    };
    let zeros = match parts.take("weight_zero_point")? {
        Some(zeros) => Zeros::Coded(zero_points(zeros, bits, &scales)?),
        None => Zeros::Middle,
    };
    Tensor::packed(&parts.name(), rows, Packed { cols, bits, codes, scales, zeros, groups })
}

/// What fills a `weight_g_idx` of which no use was made.
const UNUSED: i64 = -1;

/// Packed as the weights are, but by outputs; or as signed bytes, one for each scale or one for all.
fn zero_points(zeros: Tensor, bits: u32, scales: &Tensor) -> Result<Codes> {
    let shape = [scales.rows(), scales.cols()];
    if zeros.encoding_name() == Encoding::I32.name() {
        return Codes::in_words(&zeros, bits, shape, OUTPUTS_TOGETHER);
    }
    let zeros = if zeros.rows() == 1 && shape == [scales.rows(), 1] {
        zeros.repeated(shape[0])?
    } else {
        zeros.into_matrix()?
    };
    match zeros.shape() == shape {
        true => Codes::in_bytes(zeros, 1 << (bits - 1)),
        false => Err(error!("its weight_zero_point has shape {:?}, its scales {shape:?}", zeros.shape())),
    }
}
