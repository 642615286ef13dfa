//! Choosing a format for each matrix, so that all of them together take no more bits than they may and the model changes least.
//!
//! A matrix's rounding changes its outputs by `tr Δ H Δᵀ`, which a sample of its rows shows for each format. What that does to the model
//! is measured once for each group of matrices: they are rounded to 4 bits, the layer runs on part of the text, and the change of its
//! output relative to the output is what such a change counts. Changes are small and add up; so the best choice is, for some price of a
//! byte, the format of each group whose change and price together are least.

use std::collections::BTreeMap;

use tc_kernels::layout::{Kind, matrix_bytes};

use super::calibrated::{Job, READERS, layer_name};
use super::calibration::{Hidden, LayerRun, Moments, head_inputs};
use super::matrix::{self, Inputs};
use super::{QuantizeError, nearest};
use crate::checkpoint::{Grid, GridRow, Tensor};
use crate::config::ModelConfig;
use crate::parallel;
use crate::recipe::{Assignment, Group, Method, Override, Quantizer, Rule, WeightType};

/// From few bits to many. Merging asks that matrices of one input have one format, so groups choose together.
const FORMATS: [(Kind, u32); 12] = [
    (Kind::K2, 256),
    (Kind::N3, 256),
    (Kind::K3, 256),
    (Kind::N4, 256),
    (Kind::I4, 32),
    (Kind::K4, 256),
    (Kind::I5, 64),
    (Kind::I5, 32),
    (Kind::K5, 256),
    (Kind::I6, 32),
    (Kind::K6, 256),
    (Kind::I8, 32),
];
/// The rounding by which sensitivity is measured.
const PROBE: (Kind, u32) = (Kind::I4, 32);
/// Windows of the text that it is measured on.
const PROBE_WINDOWS: usize = 2;
/// Rows of a matrix whose rounding is tried.
const SAMPLE: usize = 48;

/// Matrices that get one format.
struct Unit {
    names: Vec<String>,
    /// In the order of [`FORMATS`].
    choices: Vec<Choice>,
}

#[derive(Clone, Copy)]
struct Choice {
    format: (Kind, u32),
    bytes: u64,
    /// What the rounding does to the model, relative to other units'.
    damage: f64,
}

/// The recipe's rules for `bits` a weight on average, on `windows` of a text.
pub fn choose(
    job: &Job,
    tensors: &BTreeMap<String, Tensor>,
    windows: &[Vec<u32>],
    bits: f64,
) -> Result<Vec<Override>, QuantizeError> {
    let mut units = Vec::new();
    let Some(table) = tensors.get("embed") else { return Ok(Vec::new()) };
    let mut hidden = Hidden::embed(job.config, table, None, windows)?;
    for layer in 0..job.config.layers {
        job.report(layer)?;
        let (moments, next) = job.moments(layer, &hidden, tensors)?;
        for (at, readers) in READERS.iter().enumerate() {
            let names = readers.iter().map(|reader| layer_name(layer, reader)).collect();
            units.extend(layer_unit(job.config, layer, names, &moments[at], tensors, (&hidden, &next))?);
        }
        hidden.rows = next;
    }
    units.extend(ends(job.config, table, windows, &hidden, tensors)?);
    let weights: u64 = units.iter().flat_map(|unit| &unit.names).filter_map(|name| tensors.get(name)).map(count).sum();
    let chosen = solve(&units, (bits * weights as f64 / 8.0) as u64).ok_or_else(|| {
        let bytes = |unit: &Unit| unit.choices.iter().map(|choice| choice.bytes).min().unwrap_or(0);
        QuantizeError::TooFewBits {
            asked: bits,
            least: 8.0 * units.iter().map(bytes).sum::<u64>() as f64 / weights as f64,
        }
    })?;
    Ok(units.iter().zip(chosen).flat_map(|(unit, choice)| rules(unit, choice)).collect())
}

fn count(tensor: &Tensor) -> u64 {
    (tensor.rows() * tensor.cols()) as u64
}

fn rules(unit: &Unit, choice: Choice) -> impl Iterator<Item = Override> {
    let (kind, group) = choice.format;
    let quantizer = Quantizer { kind, group: Group::Of(group), method: Method::Gptq };
    unit.names.iter().map(move |name| Override { layers: name.clone(), rule: Rule::Quantized(quantizer) })
}

/// The unit of a layer's matrices that read one input; `hidden` are the layer's inputs and outputs.
fn layer_unit(
    config: &ModelConfig,
    layer: usize,
    names: Vec<String>,
    moments: &Moments,
    tensors: &BTreeMap<String, Tensor>,
    (hidden, after): (&Hidden, &[f32]),
) -> Result<Option<Unit>, QuantizeError> {
    let matrices: Vec<&Tensor> = names.iter().filter_map(|name| tensors.get(name)).collect();
    // What comes quantized stays as it is.
    if matrices.iter().any(|tensor| tensor.grid().is_some()) {
        return Ok(None);
    }
    let probe = Hidden { rows: first_windows(hidden, &hidden.rows).to_vec(), ..hidden.clone() };
    let mut rounded = tensors.clone();
    for (name, tensor) in names.iter().zip(&matrices) {
        let weight = WeightType { kind: PROBE.0, group: PROBE.1 };
        let inputs = Inputs { moments: Some(moments), gptq: None };
        rounded.insert(name.clone(), matrix::quantize(tensor, weight, Method::Nearest, inputs)?);
    }
    let weights = Assignment::default();
    let run = LayerRun { config, tensors: &rounded, weights: &weights, quantize_activations: false };
    let mut changed = Vec::new();
    run.run(layer, &probe, &mut |rows| {
        rows.iter().for_each(|row| changed.extend_from_slice(&row[row.len() - config.dim..]));
    })?;
    let change = relative_change(first_windows(hidden, after), &changed);
    let error = output_error(&matrices, PROBE, moments)?;
    let sensitivity = if error > 0.0 { change / error } else { 0.0 };
    Ok(Some(Unit {
        names,
        choices: choices(&matrices, |format| Ok(sensitivity * output_error(&matrices, format, moments)?))?,
    }))
}

fn first_windows<'a>(hidden: &Hidden, rows: &'a [f32]) -> &'a [f32] {
    &rows[..rows.len().min(PROBE_WINDOWS * hidden.window * hidden.dim)]
}

/// Σ (a - b)² / Σ a², the mean over rows: rows are normed before anything reads them.
fn relative_change(a: &[f32], b: &[f32]) -> f64 {
    let squares =
        |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value) * f64::from(value)).sum::<f64>();
    let difference = squares(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let all = squares(&mut a.iter().copied());
    if all > 0.0 { difference / all } else { 0.0 }
}

/// The head, and the embedding with it where they are one or tied; else each by itself.
fn ends(
    config: &ModelConfig,
    table: &Tensor,
    windows: &[Vec<u32>],
    hidden: &Hidden,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Vec<Unit>, QuantizeError> {
    let mut moments = Moments::new(config.dim);
    head_inputs(config, tensors, hidden, &mut |rows| moments.add(rows))?;
    let head = tensors.get("head").unwrap_or(table);
    let outputs = output_size(head, &moments)?;
    let of_head = |format| Ok(output_error(&[head], format, &moments)? / outputs);
    let tokens: Vec<usize> = windows.iter().flatten().map(|token| *token as usize).collect();
    let of_table = |format| embedding_error(table, format, &tokens);
    let unit =
        |names: &[&str], choices| Unit { names: names.iter().map(|name| (*name).to_string()).collect(), choices };
    if table.grid().is_some() {
        return Ok(Vec::new());
    }
    Ok(match config.tied {
        true => vec![unit(&["embed", "head"], choices(&[table], |format| Ok(of_head(format)? + of_table(format)?))?)],
        false => vec![unit(&["embed"], choices(&[table], of_table)?), unit(&["head"], choices(&[head], of_head)?)],
    })
}

fn choices(
    matrices: &[&Tensor],
    damage: impl Fn((Kind, u32)) -> Result<f64, QuantizeError>,
) -> Result<Vec<Choice>, QuantizeError> {
    let choice = |format: (Kind, u32)| {
        let size = |tensor: &&Tensor| matrix_bytes(format.0, tensor.rows(), tensor.cols(), format.1 as usize) as u64;
        Ok(Choice { format, bytes: matrices.iter().map(size).sum(), damage: damage(format)? })
    };
    FORMATS.into_iter().map(choice).collect()
}

/// `tr Δ H Δᵀ` of matrices that read the same input, from a sample of their rows.
fn output_error(matrices: &[&Tensor], (kind, group): (Kind, u32), moments: &Moments) -> Result<f64, QuantizeError> {
    let grid = Grid { kind, group: group as usize };
    let importance = moments.importance();
    over_sample(matrices, |row| {
        let (mut on_grid, mut rounded) = (GridRow::default(), vec![0.0; row.len()]);
        nearest::quantize(grid, row, Some(&importance), &mut on_grid);
        on_grid.values(grid, &mut rounded);
        rounded.iter_mut().zip(row).for_each(|(rounded, value)| *rounded -= value);
        moments.form(&rounded)
    })
}

/// `tr W H Wᵀ`.
fn output_size(matrix: &Tensor, moments: &Moments) -> Result<f64, QuantizeError> {
    over_sample(&[matrix], |row| moments.form(row))
}

/// The sum over all rows, as a sample of them gives it.
fn over_sample(matrices: &[&Tensor], of_row: impl Fn(&[f32]) -> f64 + Sync) -> Result<f64, QuantizeError> {
    let mut total = 0.0;
    for tensor in matrices {
        let step = tensor.rows().div_ceil(SAMPLE);
        let mut rows = Vec::new();
        for row in (0..tensor.rows()).step_by(step) {
            let mut values = vec![0.0; tensor.cols()];
            tensor.read_row(row, &mut values)?;
            rows.push((values, 0.0));
        }
        parallel::for_each(rows.iter_mut(), |(values, result)| *result = of_row(values));
        total += rows.iter().map(|(_, result)| result).sum::<f64>() * tensor.rows() as f64 / rows.len() as f64;
    }
    Ok(total)
}

/// How far the text's embeddings are from their rounding, relative to themselves.
fn embedding_error(table: &Tensor, (kind, group): (Kind, u32), tokens: &[usize]) -> Result<f64, QuantizeError> {
    let grid = Grid { kind, group: group as usize };
    let (mut values, mut rounded) = (vec![0.0; table.cols()], vec![0.0; table.cols()]);
    let (mut on_grid, mut change) = (GridRow::default(), 0.0);
    let sample = tokens.iter().step_by(tokens.len().div_ceil(4 * SAMPLE));
    let count = sample.len();
    for token in sample {
        table.read_row(*token, &mut values)?;
        nearest::quantize(grid, &values, None, &mut on_grid);
        on_grid.values(grid, &mut rounded);
        change += relative_change(&values, &rounded);
    }
    Ok(change / count as f64)
}

/// The choice of each unit with the least damage that takes at most so many bytes, as a price of bytes gives it; none where even
/// the smallest formats are too large.
fn solve(units: &[Unit], budget: u64) -> Option<Vec<Choice>> {
    let at = |price: f64| -> Vec<Choice> {
        let cost = |choice: &Choice| choice.damage + price * choice.bytes as f64;
        units
            .iter()
            .filter_map(|unit| unit.choices.iter().copied().min_by(|a, b| cost(a).total_cmp(&cost(b))))
            .collect()
    };
    let fits = |chosen: &[Choice]| chosen.iter().map(|choice| choice.bytes).sum::<u64>() <= budget;
    // Prices of a byte that span all damages there are.
    let (mut low, mut high) = (1e-18f64, 1.0f64);
    let mut best = Some(at(high)).filter(|chosen| fits(chosen))?;
    for _ in 0..80 {
        let middle = (low * high).sqrt();
        let chosen = at(middle);
        match fits(&chosen) {
            true => (high, best) = (middle, chosen),
            false => low = middle,
        }
    }
    spend(units, &mut best, budget);
    Some(best)
}

/// What a price leaves over goes, unit by unit, where it does most good.
fn spend(units: &[Unit], chosen: &mut [Choice], budget: u64) {
    loop {
        let left = budget - chosen.iter().map(|choice| choice.bytes).sum::<u64>();
        let better =
            units.iter().enumerate().flat_map(|(at, unit)| unit.choices.iter().map(move |choice| (at, *choice)));
        let gain = |at: usize, choice: &Choice| {
            let more = choice.bytes.saturating_sub(chosen[at].bytes);
            (chosen[at].damage - choice.damage) / more.max(1) as f64
        };
        let affordable = better
            .filter(|(at, choice)| choice.damage < chosen[*at].damage && choice.bytes <= chosen[*at].bytes + left);
        match affordable.max_by(|(a, x), (b, y)| gain(*a, x).total_cmp(&gain(*b, y))) {
            Some((at, choice)) => chosen[at] = choice,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(choices: &[(u64, f64)]) -> Unit {
        let choice = |&(bytes, damage): &(u64, f64)| Choice { format: PROBE, bytes, damage };
        Unit { names: vec![], choices: choices.iter().map(choice).collect() }
    }

    #[test]
    fn bytes_go_where_they_do_most_good() {
        let units = [
            unit(&[(10, 8.0), (20, 1.0), (30, 0.5)]),
            unit(&[(10, 2.0), (20, 1.5), (30, 0.1)]),
            unit(&[(100, 0.3), (200, 0.2)]),
        ];
        let bytes =
            |budget| solve(&units, budget).map(|chosen| chosen.iter().map(|choice| choice.bytes).collect::<Vec<_>>());
        assert_eq!(bytes(119), None);
        assert_eq!(bytes(120), Some(vec![10, 10, 100]));
        assert_eq!(bytes(130), Some(vec![20, 10, 100]));
        assert_eq!(bytes(150), Some(vec![20, 30, 100]));
        assert_eq!(bytes(1000), Some(vec![30, 30, 200]));
    }
}
