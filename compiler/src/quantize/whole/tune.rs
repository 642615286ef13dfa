//! Tuning a quantized model as a whole: what scales and minima are free to be is fitted to what the checkpoint's floats predict.
//!
//! Quantizers see one matrix at a time. Here the whole model reads a text, its predictions are compared with those of the floats by their
//! divergence, and that goes backwards through all layers to a factor for each part of a row that has a scale of its own. Numbers stay what
//! they are: with as little text as an export has time for, whatever moves single numbers fits the text's noise (docs/quantization.md).
//!
//! The slopes of a step's windows are added up in order.

use std::collections::BTreeMap;

use super::factors::Factors;
use super::head::Head;
use super::layer::LINEARS;
use super::model::{self, Model, Visit};
use crate::linalg::{Panels, Side};
use crate::parallel;
use crate::quantize::QuantizeError;
use crate::quantize::calibrated::{Job, Quantized, layer_name};
use crate::quantize::calibration::Hidden;
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
    let model = Model::new(job, weights, windows, &quantized.tensors)?;
    let mut tuner = Tuner { job, model, exact, schedule: Schedule { step: 0, steps, rate: 0.0 } };
    for step in 0..steps {
        let visits = (step * batch..(step + 1) * batch).map(|visit| visited(visit, windows.len()));
        let rate = RATE * ((step + 1) as f32 / WARM_UP as f32).min(1.0) * (1.0 - step as f32 / steps as f32);
        tuner.schedule = Schedule { step, steps, rate };
        let visits = tuner.model.visits(visits);
        divergences.push(tuner.step(visits, &mut factors)?);
    }
    drop(tuner);
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
pub(super) fn visited(visit: usize, count: usize) -> usize {
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

struct Tuner<'a> {
    job: &'a Job<'a>,
    model: Model<'a>,
    /// What the floats' last layer gives.
    exact: &'a Hidden,
    schedule: Schedule,
}

/// Of a step: which of how many, and at what rate.
struct Schedule {
    step: usize,
    steps: usize,
    rate: f32,
}

/// What a window says.
#[derive(Default)]
struct Found {
    divergence: f64,
    /// Of a layer's matrices.
    slopes: [Vec<f32>; 7],
}

impl Tuner<'_> {
    /// Moves the factors once, and says the mean divergence on the windows before.
    fn step(
        &self,
        mut visits: Vec<Visit<Found>>,
        factors: &mut BTreeMap<String, Factors>,
    ) -> Result<f64, QuantizeError> {
        let layers = self.job.config.layers;
        for index in 0..layers {
            self.report(index)?;
            model::forward(&self.model.layer(index, factors)?, &mut visits);
        }
        self.report(layers)?;
        self.compare(&mut visits)?;
        for index in (0..layers).rev() {
            self.report(2 * layers - index)?;
            self.back(index, &mut visits, factors)?;
        }
        let tokens = visits.len() * self.exact.window;
        Ok(visits.iter().map(|visit| visit.found.divergence).sum::<f64>() / tokens as f64)
    }

    /// Three times as much is done on the way back as on the way there.
    fn report(&self, done: usize) -> Result<(), QuantizeError> {
        let layers = self.job.config.layers;
        let work = |done: usize| if done > layers { 3 * done - 2 * layers } else { done };
        let of_step = work(2 * layers + 1);
        let Schedule { step, steps, .. } = self.schedule;
        match (self.job.progress)((step * of_step + work(done)) as u64, (steps * of_step) as u64).is_break() {
            true => Err(QuantizeError::Cancelled),
            false => Ok(()),
        }
    }

    fn compare(&self, visits: &mut [Visit<Found>]) -> Result<(), QuantizeError> {
        let config = self.job.config;
        let exact = Model::table_of(config, self.job.tensors)?;
        // First, so that its rows are gone before the other table's are there.
        let exact = Panels::of(Side::rows(&exact, config.dim));
        let head = Head { norm: self.model.norm()?, eps: config.norm_eps, table: self.model.table()? };
        parallel::for_each(visits.iter_mut(), |visit| {
            let (divergence, change) = head.divergence(&visit.now, (&exact, self.exact.rows_of(visit.window)));
            (visit.found.divergence, visit.now) = (divergence, change);
        });
        Ok(())
    }

    /// Through a layer, whose factors move as soon as all windows have said how.
    fn back(
        &self,
        index: usize,
        visits: &mut [Visit<Found>],
        factors: &mut BTreeMap<String, Factors>,
    ) -> Result<(), QuantizeError> {
        let layer = self.model.layer(index, factors)?;
        let names = LINEARS.map(|part| layer_name(index, part));
        let of_linears = names.each_ref().map(|name| factors.get(name));
        model::backward(&layer, visits, |trace, changes, found: &mut Found| {
            for (at, (factors, linear)) in of_linears.iter().zip(&layer.linears).enumerate() {
                let Some(factors) = factors else { continue };
                let (x, y, dy) = (trace.inputs()[at], trace.outputs()[at], &changes.outputs[at]);
                found.slopes[at] = factors.slopes(linear, x, y, dy);
            }
        });
        let scale = (visits.len() * self.exact.window) as f32;
        for (at, name) in names.iter().enumerate() {
            let Some(factors) = factors.get_mut(name) else { continue };
            let mut slopes = vec![0.0; factors.values.len()];
            for visit in visits.iter() {
                slopes.iter_mut().zip(&visit.found.slopes[at]).for_each(|(sum, slope)| *sum += slope / scale);
            }
            factors.step(&slopes, self.schedule.rate, self.schedule.step + 1);
        }
        Ok(())
    }
}
