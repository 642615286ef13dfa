//! Checkpoints that come quantized. A matrix is there several tensors: packed integers, scales, zero points, the order of
//! its columns. Each such set becomes one lazy tensor, under the name that the matrix would have had as floats.

mod codes;
mod compressed;
mod gptq;
mod matrix;
mod meta;
mod scheme;

pub use matrix::Packed;
pub use scheme::Scheme;

use super::assemble::Found;
use super::encoding::Encoding;
use super::error::{CheckpointError, Result, error};
use super::tensor::Tensor;
use matrix::Groups;

/// Replaces the parts of quantized matrices by the matrices.
pub fn join(scheme: &Scheme, found: Found) -> Result<Found> {
    match scheme {
        Scheme::Floats => Ok(found),
        Scheme::Gptq(config) => join_each(found, ".qweight", |parts| gptq::gptq(config, parts)),
        Scheme::Awq(config) => join_each(found, ".qweight", |parts| gptq::awq(config, parts)),
        Scheme::Compressed(config) => {
            let mut found = found;
            found.retain(|name, _| !compressed::is_about_activations(name));
            let found = join_each(found, ".weight_packed", |parts| compressed::packed(config, parts))?;
            join_each(found, ".weight_scale", |parts| compressed::bytes(config, parts))
        }
        Scheme::Meta(config) => join_each(found, ".scales", |parts| meta::matrix(config, parts)),
    }
}

/// `join` makes a matrix of every set of parts that has one named `marker`.
fn join_each(mut found: Found, marker: &str, join: impl Fn(&mut Parts) -> Result<Tensor>) -> Result<Found> {
    let bases: Vec<String> = found.keys().filter_map(|name| name.strip_suffix(marker)).map(String::from).collect();
    for base in bases {
        let name = format!("{base}.weight");
        let mut parts = Parts { found: &mut found, base: &base };
        let matrix = join(&mut parts).map_err(|e| e.at(format_args!("tensor {name}")))?;
        if found.insert(name.clone(), Ok(matrix)).is_some() {
            return Err(error!("tensor {name}: is there both quantized and as floats"));
        }
    }
    Ok(found)
}

/// The tensors of one matrix.
struct Parts<'a> {
    found: &'a mut Found,
    base: &'a str,
}

impl Parts<'_> {
    fn name(&self) -> String {
        format!("{}.weight", self.base)
    }

    fn take(&mut self, part: &str) -> Result<Option<Tensor>> {
        self.found.remove(&format!("{}.{part}", self.base)).transpose()
    }

    fn need(&mut self, part: &str) -> Result<Tensor> {
        self.take(part)?.ok_or_else(|| error!("its {part} is missing"))
    }

    /// A few integers that say how the matrix lies.
    fn integers(&mut self, part: &str, encodings: &[Encoding]) -> Result<Option<Vec<i64>>> {
        let Some(tensor) = self.take(part)? else { return Ok(None) };
        let wrong = |e: CheckpointError| e.at(format_args!("its {part}"));
        let encoding = encodings.iter().find(|encoding| encoding.name() == tensor.encoding_name());
        let encoding = encoding.ok_or_else(|| wrong(error!("is stored as {}", tensor.encoding_name())))?;
        tensor.as_stored(*encoding).and_then(|stored| stored.integers(tensor.shape())).map(Some).map_err(wrong)
    }
}

/// The group of each column from a list in the file.
fn group_list(list: Vec<i64>, cols: usize, count: usize, group: usize) -> Result<Groups> {
    if list.len() != cols {
        return Err(error!("its g_idx has {} numbers, not one for each of {cols} columns", list.len()));
    }
    let groups = list.iter().map(|of| u32::try_from(*of).ok().filter(|of| (*of as usize) < count));
    let groups: Option<Vec<u32>> = groups.collect();
    let odd = || list.iter().find(|of| !(0..count as i64).contains(of)).copied().unwrap_or_default();
    let groups = groups.ok_or_else(|| error!("its g_idx names group {}, but there are {count}", odd()))?;
    Ok(Groups::listed(groups, group))
}

/// Scales as `rows x groups`, whatever their rank; one for all rows serves each.
fn scales(scales: Tensor, rows: usize) -> Result<Tensor> {
    if !scales.is_stored_float() {
        return Err(error!("its scales are stored as {}", scales.encoding_name()));
    }
    if scales.rows() == 1 && rows != 1 && scales.cols() == 1 {
        return scales.repeated(rows);
    }
    match scales.rows() == rows {
        true => scales.into_matrix(),
        false => Err(error!("its scales have shape {:?}, but it has {rows} rows", scales.shape())),
    }
}

/// Checks that `count` groups are what `group` columns each make of a row.
fn check_groups(cols: usize, group: usize, count: usize) -> Result<()> {
    match cols.div_ceil(group) == count {
        true => Ok(()),
        false => {
            Err(error!("its rows of {cols} in groups of {group} have {} scales, not {count}", cols.div_ceil(group)))
        }
    }
}
