//! Channels are rescaled, as AWQ does (Lin et al. 2023): columns that meet large inputs are multiplied before they are rounded, and what makes those inputs is divided,
//! which leaves the function as it is. A norm's gain stands before q, k and v and before gate and up, v before o, up before down.
//!
//! Factors are `|x|^a / |w|^b` (means over the text and over the column). The pair of exponents is tried out on a sample of rows: the
//! one whose rounding, which is then that of the recipe, changes the matrices' outputs least.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::calibrated::{Place, Seen, layer_name};
use super::calibration::Moments;
use super::{QuantizeError, grid_of, nearest};
use crate::checkpoint::{Factors, Grid, GridRow, Tensor};
use crate::config::ModelConfig;
use crate::models::Half;
use crate::parallel;
use crate::recipe::{Assignment, Method};

/// Of the inputs' magnitude and of the weights'.
const EXPONENTS: [[f32; 2]; 15] = {
    let (xs, ws) = ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.5, 1.0]);
    let mut all = [[0.0; 2]; 15];
    let mut i = 0;
    while i < all.len() {
        all[i] = [xs[i % 5], ws[i / 5]];
        i += 1;
    }
    all
};
/// Rows of a matrix that the exponents are tried on.
const SAMPLE: usize = 32;

/// What makes each input of half a layer, and can take the inverse of what its readers are multiplied by.
const fn sources(half: Half) -> [&'static str; 2] {
    match half {
        Half::Attention => ["attn_norm", "v"],
        Half::Ffn => ["ffn_norm", "up"],
    }
}

/// Rescales the channels of half a layer where its matrices are to be quantized by a method that gains from it, and `seen` with them.
pub fn rescale(
    config: &ModelConfig,
    (layer, half): Place,
    weights: &Assignment,
    seen: &mut [Seen],
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<(), QuantizeError> {
    let name = |part: &str| layer_name(layer, part);
    for ((readers, source), seen) in half.readers().into_iter().zip(sources(half)).zip(seen) {
        let gains = |reader: &&str| matches!(weights.method(&name(reader)), Some(Method::Awq | Method::Gptq));
        let on_grid = |part: &&str| tensors.get(&name(part)).is_some_and(|tensor| tensor.grid().is_some());
        // What is on a grid already would leave it.
        if !readers.iter().all(gains) || readers.iter().chain([&source]).any(on_grid) {
            continue;
        }
        // A kv head's values are read by a whole group of o's columns.
        let shared = if source == "v" { Heads::of(config) } else { Heads::each(seen.moments.size()) };
        let mut samples = Vec::new();
        for reader in readers {
            let name = name(reader);
            if let (Some(tensor), Some(weight)) = (tensors.get(&name), weights.get(&name)) {
                samples.push(Sample::of(tensor, grid_of(weight))?);
            }
        }
        let factors = search(&seen.moments, &samples, &shared);
        let inverse: Arc<[f32]> = shared.sources().map(|col| factors[col].recip()).collect();
        let factors: Arc<[f32]> = factors.into();
        seen.divide(&factors);
        for reader in readers {
            replace(tensors, &name(reader), Factors::Cols(Arc::clone(&factors)))?;
        }
        for source in [name(source), name(&format!("{source}.bias"))] {
            replace(tensors, &source, Factors::Rows(Arc::clone(&inverse)))?;
        }
    }
    Ok(())
}

/// A tensor that is not there (a bias) stays away.
fn replace(tensors: &mut BTreeMap<String, Tensor>, name: &str, factors: Factors) -> Result<(), QuantizeError> {
    if let Some(tensor) = tensors.remove(name) {
        tensors.insert(name.to_string(), tensor.scaled(factors)?);
    }
    Ok(())
}

/// Which columns must have the same factor: column `i` of head `h` comes from column `i` of kv head `h / group`.
struct Heads {
    cols: usize,
    width: usize,
    group: usize,
}

impl Heads {
    fn of(config: &ModelConfig) -> Heads {
        Heads { cols: config.q_width(), width: config.head_dim, group: config.heads / config.kv_heads }
    }

    fn each(cols: usize) -> Heads {
        Heads { cols, width: cols, group: 1 }
    }

    /// The first column that reads each source, in the order of the sources.
    fn sources(&self) -> impl Iterator<Item = usize> {
        let span = self.width * self.group;
        (0..self.cols / self.group).map(move |source| source / self.width * span + source % self.width)
    }

    /// Puts the mean over each source's columns in all of them.
    fn average(&self, values: &mut [f32]) {
        for first in self.sources() {
            let cols = || (0..self.group).map(|head| first + head * self.width);
            let mean = cols().map(|col| values[col]).sum::<f32>() / self.group as f32;
            cols().for_each(|col| values[col] = mean);
        }
    }
}

/// Some rows of a matrix.
struct Sample {
    grid: Grid,
    rows: Vec<Vec<f32>>,
}

impl Sample {
    fn of(tensor: &Tensor, grid: Grid) -> Result<Sample, QuantizeError> {
        let step = tensor.rows().div_ceil(SAMPLE);
        let read = |row: usize| {
            let mut values = vec![0.0; tensor.cols()];
            tensor.read_row(row, &mut values).map(|()| values)
        };
        Ok(Sample { grid, rows: (0..tensor.rows()).step_by(step).map(read).collect::<Result<_, _>>()? })
    }
}

fn search(moments: &Moments, samples: &[Sample], shared: &Heads) -> Vec<f32> {
    let (mut inputs, mut columns) = (moments.magnitude(), vec![0.0; moments.size()]);
    for row in samples.iter().flat_map(|sample| &sample.rows) {
        columns.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.abs());
    }
    shared.average(&mut inputs);
    shared.average(&mut columns);
    let best = Mutex::new((f64::INFINITY, vec![1.0; moments.size()]));
    parallel::for_each(EXPONENTS.into_iter(), |exponents| {
        let factors = factors(&inputs, &columns, exponents);
        let loss = samples.iter().map(|sample| loss(sample, &factors, moments)).sum();
        if let Ok(mut best) = best.lock()
            && loss < best.0
        {
            *best = (loss, factors);
        }
    });
    best.into_inner().map_or_else(|_| vec![1.0; moments.size()], |best| best.1)
}

/// With a geometric mean of 1.
fn factors(inputs: &[f32], columns: &[f32], [a, b]: [f32; 2]) -> Vec<f32> {
    const LEAST: f32 = 1e-6;
    let log = |(x, w): (&f32, &f32)| a * x.max(LEAST).ln() - b * w.max(LEAST).ln();
    let logs: Vec<f32> = inputs.iter().zip(columns).map(log).collect();
    let mean = logs.iter().sum::<f32>() / logs.len() as f32;
    logs.iter().map(|log| (log - mean).clamp(-8.0, 8.0).exp()).collect()
}

/// By how much rounding changes the outputs of the sampled rows: `Δ H Δᵀ`.
fn loss(sample: &Sample, factors: &[f32], moments: &Moments) -> f64 {
    let size = factors.len();
    let importance = moments.importance();
    let importance: Vec<f32> = importance.iter().zip(factors).map(|(x, factor)| x / (factor * factor)).collect();
    let (mut on_grid, mut rounded) = (GridRow::default(), vec![0.0; size]);
    let mut loss = 0.0;
    for row in &sample.rows {
        let scaled: Vec<f32> = row.iter().zip(factors).map(|(value, factor)| value * factor).collect();
        nearest::quantize(sample.grid, &scaled, Some(&importance), &mut on_grid);
        on_grid.values(sample.grid, &mut rounded);
        let errors = rounded.iter().zip(&scaled).zip(factors).map(|((new, old), factor)| (new - old) / factor);
        loss += moments.form(&errors.collect::<Vec<f32>>());
    }
    loss
}
