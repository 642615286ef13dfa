//! Tuning a quantized model as a whole: what scales and minima are free to be is fitted to what the checkpoint's floats predict.
//!
//! Quantizers see one matrix at a time. Here the whole model reads a text, its predictions are compared with those of the floats by their
//! divergence, and that goes backwards through all layers to a factor for each part of a row that has a scale of its own. Numbers stay what
//! they are: with as little text as an export has time for, whatever moves single numbers fits the text's noise (docs/quantization.md).
//!
//! Layers come one at a time, and do their work a second time on the way back, so that what a text is between layers is all that is kept.
//! Windows of a step are worked on side by side, each on one core, and their slopes are added up in order: results are the same each time.

mod attention;
mod factors;
mod head;
mod layer;
mod ops;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use factors::Factors;
use layer::LINEARS;
use step::Student;

use super::QuantizeError;
use super::calibrated::{Job, Quantized, layer_name};
use super::calibration::Hidden;
use crate::config::RopeScaling;
use crate::recipe::Assignment;

/// Windows of a step.
const BATCH: usize = 8;
/// By how much Adam's first full step moves a factor; steps before it are shorter, and so are later ones, more and more.
const RATE: f32 = 0.003;
const WARM_UP: usize = 3;

/// Tunes what was rounded of `quantized` with `tokens` of the job's text, over and over if need be. `exact` is what the last layer of
/// the floats makes of the text. What is given back is the mean divergence of each step.
pub fn tune(
    job: &Job,
    weights: &Assignment,
    exact: &Hidden,
    tokens: usize,
    quantized: &mut Quantized,
) -> Result<Vec<f64>, QuantizeError> {
    let Some(windows) = job.windows else { return Ok(Vec::new()) };
    let mut factors = factors_of(job, quantized);
    let (batch, step_tokens) = (BATCH.min(windows.len()), BATCH.min(windows.len()) * exact.window);
    let steps = tokens.div_ceil(step_tokens);
    let mut divergences = Vec::new();
    let mut student = Student::new(job, weights, exact, windows, &quantized.tensors)?;
    for step in 0..steps {
        let visits = (step * batch..(step + 1) * batch).map(|visit| visited(visit, windows.len())).collect();
        let rate = RATE * ((step + 1) as f32 / WARM_UP as f32).min(1.0) * (1.0 - step as f32 / steps as f32);
        student.schedule(step, steps, rate);
        divergences.push(student.step(visits, &mut factors)?);
    }
    drop(student);
    for (name, factors) in factors {
        if let Some(tensor) = quantized.tensors.get(&name) {
            let tuned = factors.into_tensor(tensor)?;
            quantized.tensors.insert(name, tuned);
        }
    }
    Ok(divergences)
}

/// Of the layers' matrices that a quantizer rounded; those that came quantized stay as they are.
fn factors_of(job: &Job, quantized: &Quantized) -> BTreeMap<String, Factors> {
    let names = (0..job.config.layers).flat_map(|layer| LINEARS.map(|part| layer_name(layer, part)));
    let rounded = names.filter(|name| quantized.floats.contains_key(name));
    let with_factors = |name: String| Factors::of(quantized.tensors.get(&name)?).map(|factors| (name, factors));
    rounded.filter_map(with_factors).collect()
}

/// Which window comes when: neighbours in the text far from one another, and all of them before the first comes again.
fn visited(visit: usize, count: usize) -> usize {
    const GOLDEN: f64 = 0.618;
    let common = |a: usize, b: usize| {
        let (mut a, mut b) = (a, b);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let first = ((GOLDEN * count as f64) as usize).max(1);
    let stride = (first..=count).find(|stride| common(*stride, count) == 1).unwrap_or(1);
    visit * stride % count
}

/// Why a model cannot be tuned, if it cannot.
pub fn obstacle(job: &Job) -> Option<&'static str> {
    let window = job.windows.and_then(|windows| windows.first()).map_or(0, Vec::len);
    match job.config.rope.scaling {
        RopeScaling::Dynamic { original, .. } if window > original => {
            Some("its positions are scaled by the text's length")
        }
        _ => None,
    }
}
