//! Choosing a format for each matrix, so that all of them together take no more bits than they may and the model changes least.
//!
//! What a rounding does to the model is the divergence of its predictions from what they were. It is measured once for each group of
//! matrices that read one input: they are rounded to 4 bits ([`PROBE`]), and the rest of the model runs in floats ([`super::probe`]). A rounding changes
//! the matrices' outputs by `tr Δ H Δᵀ`, which a sample of their rows shows for each format; the divergence is as large in proportion, and
//! those of different groups add up. So the best choice is, for some price of a byte, the format of each group whose divergence and price
//! together are least.

use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::{Format, Kind, matrix_bytes};

use super::calibrated::{Job, layer_name, places};
use super::calibration::{Hidden, Moments};
use super::probe::{Divergences, PROBE, Probes};
use super::{QuantizeError, nearest};
use crate::checkpoint::{Grid, GridRow, Tensor};
use crate::parallel;
use crate::recipe::{Group, Method, Override, Quantizer, Rule};

/// From few bits to many. Merging asks that matrices of one input have one format, so groups choose together.
const FORMATS: [Packed; 13] = [
    (Kind::T2, Group::Row),
    (Kind::K2, Group::Of(256)),
    (Kind::T3, Group::Row),
    (Kind::K3, Group::Of(256)),
    (Kind::T4, Group::Row),
    (Kind::I4, Group::Of(32)),
    (Kind::K4, Group::Of(256)),
    (Kind::I5, Group::Of(64)),
    (Kind::I5, Group::Of(32)),
    (Kind::K5, Group::Of(256)),
    (Kind::I6, Group::Of(32)),
    (Kind::K6, Group::Of(256)),
    (Kind::I8, Group::Of(32)),
];
/// The most windows on which formats are compared, evenly spread over the text: that takes fewer than numbers do that are fitted to it.
const WINDOWS: usize = 16;
/// Rows of a matrix whose rounding is tried.
const SAMPLE: usize = 48;

type Packed = (Kind, Group);
const PROBED: Packed = (PROBE.0, Group::Of(PROBE.1));

/// Matrices that get one format.
struct Unit {
    names: Vec<String>,
    /// In the order of [`FORMATS`].
    choices: Vec<Choice>,
}

#[derive(Clone, Copy)]
struct Choice {
    format: Packed,
    bytes: u64,
    /// Divergence of the model's predictions.
    damage: f64,
}

/// The recipe's rules for `bits` a weight on average, on `windows` of a text.
pub fn choose(job: &Job, windows: &[Vec<u32>], bits: f64) -> Result<Vec<Override>, QuantizeError> {
    let Some(table) = job.tensors.get("embed") else { return Ok(Vec::new()) };
    let windows: Vec<Vec<u32>> = windows.iter().step_by(windows.len().div_ceil(WINDOWS).max(1)).cloned().collect();
    let windows = &*windows;
    let mut hidden = Hidden::embed(job.config, table, None, windows)?;
    let (mut probes, mut units) = (Probes::new(job, table, windows)?, Vec::new());
    for place in places(job.config) {
        job.report(place.0)?;
        let (moments, next) = job.moments(place, &hidden)?;
        let mut rounded = Vec::new();
        for (readers, moments) in place.1.readers().into_iter().zip(&moments) {
            let names: Vec<String> = readers.iter().map(|reader| layer_name(place.0, reader)).collect();
            if let Some(unit) = unit(job, names, moments)? {
                rounded.push((unit.names.clone(), moments));
                units.push(unit);
            }
        }
        probes.pass(job, place, &rounded)?;
        hidden = next;
    }
    let moments = job.head_moments(&hidden, job.tensors)?;
    let divergences = probes.finish(job, &moments)?;
    for (unit, divergence) in units.iter_mut().zip(&divergences.of_units) {
        unit.choices.iter_mut().for_each(|choice| choice.damage *= divergence);
    }
    units.extend(ends(job, table, windows, &moments, &divergences)?);
    let tensors = job.tensors;
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
    let quantizer = Quantizer { kind, group, method: Method::Gptq };
    unit.names.iter().map(move |name| Override { layers: name.clone(), rule: Rule::Quantized(quantizer) })
}

/// The unit of the matrices that read one input, where they may be rounded. Damage is in parts of that of [`PROBE`].
fn unit(job: &Job, names: Vec<String>, moments: &Moments) -> Result<Option<Unit>, QuantizeError> {
    let matrices: Vec<&Tensor> = names.iter().filter_map(|name| job.tensors.get(name)).collect();
    // What comes quantized stays as it is.
    if matrices.iter().any(|tensor| tensor.grid().is_some()) {
        return Ok(None);
    }
    let probed = output_error(&matrices, PROBED, moments)?;
    let damage = |format| Ok(if probed > 0.0 { output_error(&matrices, format, moments)? / probed } else { 0.0 });
    Ok(Some(Unit { choices: choices(&matrices, damage)?, names }))
}

/// The head, and the embedding with it where they are one or tied; else each by itself.
fn ends(
    job: &Job,
    table: &Tensor,
    windows: &[Vec<u32>],
    moments: &Moments,
    divergences: &Divergences,
) -> Result<Vec<Unit>, QuantizeError> {
    let head = job.tensors.get("head").unwrap_or(table);
    let tokens: Vec<usize> = windows.iter().flatten().map(|token| *token as usize).collect();
    let (head_probed, table_probed) =
        (output_error(&[head], PROBED, moments)?, embedding_error(table, PROBED, &tokens)?);
    let of_head = |format| Ok(divergences.of_head * output_error(&[head], format, moments)? / head_probed);
    let of_table = |format| Ok(divergences.of_table * embedding_error(table, format, &tokens)? / table_probed);
    let unit =
        |names: &[&str], choices| Unit { names: names.iter().map(|name| (*name).to_string()).collect(), choices };
    if table.grid().is_some() {
        return Ok(Vec::new());
    }
    Ok(match job.config.tied {
        true => vec![unit(&["embed", "head"], choices(&[table], |format| Ok(of_head(format)? + of_table(format)?))?)],
        false => vec![unit(&["embed"], choices(&[table], of_table)?), unit(&["head"], choices(&[head], of_head)?)],
    })
}

fn choices(
    matrices: &[&Tensor],
    damage: impl Fn(Packed) -> Result<f64, QuantizeError>,
) -> Result<Vec<Choice>, QuantizeError> {
    let choice = |format: Packed| {
        let size = |tensor: &&Tensor| {
            let group = format.1.of_row(tensor.cols()) as usize;
            matrix_bytes(format.0, tensor.rows(), tensor.cols(), group) as u64
        };
        Ok(Choice { format, bytes: matrices.iter().map(size).sum(), damage: damage(format)? })
    };
    let whole_steps = matrices.iter().all(|tensor| tensor.cols().is_multiple_of(ACT_GROUP));
    let allowed = |format: &Packed| whole_steps || !format.0.format().is_some_and(Format::has_trellis);
    FORMATS.into_iter().filter(allowed).map(choice).collect()
}

/// `tr Δ H Δᵀ` of matrices that read the same input, from a sample of their rows.
fn output_error(matrices: &[&Tensor], (kind, group): Packed, moments: &Moments) -> Result<f64, QuantizeError> {
    let importance = moments.importance();
    over_sample(matrices, |row| {
        let grid = Grid { kind, group: group.of_row(row.len()) as usize };
        let (mut on_grid, mut rounded) = (GridRow::default(), vec![0.0; row.len()]);
        nearest::quantize(grid, row, Some(&importance), &mut on_grid);
        on_grid.values(grid, &mut rounded);
        rounded.iter_mut().zip(row).for_each(|(rounded, value)| *rounded -= value);
        moments.form(&rounded)
    })
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

/// How far the text's embeddings are from their rounding.
fn embedding_error(table: &Tensor, (kind, group): Packed, tokens: &[usize]) -> Result<f64, QuantizeError> {
    let grid = Grid { kind, group: group.of_row(table.cols()) as usize };
    let (mut values, mut rounded) = (vec![0.0; table.cols()], vec![0.0; table.cols()]);
    let (mut on_grid, mut change) = (GridRow::default(), 0.0);
    let sample = tokens.iter().step_by(tokens.len().div_ceil(4 * SAMPLE));
    let count = sample.len();
    for token in sample {
        table.read_row(*token, &mut values)?;
        nearest::quantize(grid, &values, None, &mut on_grid);
        on_grid.values(grid, &mut rounded);
        change += values.iter().zip(&rounded).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum::<f64>();
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
        let choice = |&(bytes, damage): &(u64, f64)| Choice { format: PROBED, bytes, damage };
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
