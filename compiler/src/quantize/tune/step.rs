//! One step: a few windows through the whole model and back, one layer at a time.

use std::collections::BTreeMap;

use super::attention::Attention;
use super::factors::Factors;
use super::head::Head;
use super::layer::{LINEARS, Layer, Linear};
use super::ops::Angles;
use crate::checkpoint::Tensor;
use crate::config::{ModelConfig, RopeScaling};
use crate::linalg::{Panels, Side};
use crate::models::inverse_frequencies;
use crate::parallel;
use crate::quantize::calibrated::{Job, layer_name};
use crate::quantize::calibration::Hidden;
use crate::quantize::{QuantizeError, matrix};
use crate::recipe::Assignment;

/// The quantized model that is to predict what the floats do.
pub struct Student<'a> {
    job: &'a Job<'a>,
    tensors: &'a BTreeMap<String, Tensor>,
    head: &'a str,
    /// What the first layer reads.
    embedded: Hidden,
    /// What the floats' last layer gives.
    exact: &'a Hidden,
    angles: Angles,
    schedule: Schedule,
}

#[derive(Default)]
struct Schedule {
    step: usize,
    steps: usize,
    rate: f32,
}

/// A window on its way.
#[derive(Default)]
struct Visit {
    window: usize,
    /// What each layer read so far.
    read: Vec<Vec<f32>>,
    /// What the last layer gave and, on the way back, how the divergence changes with it.
    now: Vec<f32>,
    divergence: f64,
    /// Of a layer's matrices.
    slopes: [Vec<f32>; 7],
}

impl<'a> Student<'a> {
    pub fn new(
        job: &'a Job<'a>,
        weights: &'a Assignment,
        exact: &'a Hidden,
        windows: &[Vec<u32>],
        tensors: &'a BTreeMap<String, Tensor>,
    ) -> Result<Student<'a>, QuantizeError> {
        let config = job.config;
        let table = named(tensors, "embed")?;
        let magnitude = match config.rope.scaling {
            RopeScaling::Yarn { magnitude, .. } => magnitude as f32,
            _ => 1.0,
        };
        let frequencies = inverse_frequencies(&config.rope, config.head_dim);
        Ok(Student {
            job,
            tensors,
            head: if weights.shared_head { "embed" } else { "head" },
            embedded: Hidden::embed(config, table, weights.get("embed"), windows)?,
            exact,
            angles: Angles::new(&frequencies, magnitude, exact.window),
            schedule: Schedule::default(),
        })
    }

    /// Of the next step: which of how many, and at what rate.
    pub fn schedule(&mut self, step: usize, steps: usize, rate: f32) {
        self.schedule = Schedule { step, steps, rate };
    }

    /// Moves the factors once, and says the mean divergence on the windows before.
    pub fn step(&mut self, windows: Vec<usize>, factors: &mut BTreeMap<String, Factors>) -> Result<f64, QuantizeError> {
        let layers = self.job.config.layers;
        let begin = |window| Visit { window, now: self.window(&self.embedded, window).to_vec(), ..Visit::default() };
        let mut visits: Vec<Visit> = windows.into_iter().map(begin).collect();
        for index in 0..layers {
            self.report(index)?;
            let layer = self.layer(index, factors)?;
            parallel::for_each(visits.iter_mut(), |visit| {
                let out = layer.forward(&visit.now).out;
                visit.read.push(std::mem::replace(&mut visit.now, out));
            });
        }
        self.report(layers)?;
        self.compare(&mut visits)?;
        for index in (0..layers).rev() {
            self.report(2 * layers - index)?;
            self.back(index, &mut visits, factors)?;
        }
        let tokens = visits.len() * self.exact.window;
        Ok(visits.iter().map(|visit| visit.divergence).sum::<f64>() / tokens as f64)
    }

    fn window<'b>(&self, hidden: &'b Hidden, window: usize) -> &'b [f32] {
        let size = hidden.window * hidden.dim;
        &hidden.rows[window * size..][..size]
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

    fn compare(&self, visits: &mut [Visit]) -> Result<(), QuantizeError> {
        let config = self.job.config;
        let multiplied = |tensor: &Tensor| -> Result<Vec<f32>, QuantizeError> {
            let mut values = matrix::read(tensor)?;
            values.iter_mut().for_each(|value| *value /= config.logits_divisor);
            Ok(values)
        };
        let exact = self.job.tensors.get("head").map_or_else(|| named(self.job.tensors, "embed"), Ok)?;
        let head = Head {
            // First, so that its rows are gone before the other table's are there.
            exact: Panels::of(Side::rows(&multiplied(exact)?, config.dim)),
            norm: named(self.tensors, "norm")?.read_vector()?,
            eps: config.norm_eps,
            table: multiplied(named(self.tensors, self.head)?)?,
        };
        parallel::for_each(visits.iter_mut(), |visit| {
            let (divergence, change) = head.divergence(&visit.now, self.window(self.exact, visit.window));
            (visit.divergence, visit.now) = (divergence, change);
        });
        Ok(())
    }

    /// Through a layer, whose factors move as soon as all windows have said how.
    fn back(
        &self,
        index: usize,
        visits: &mut [Visit],
        factors: &mut BTreeMap<String, Factors>,
    ) -> Result<(), QuantizeError> {
        let layer = self.layer(index, factors)?;
        let names = LINEARS.map(|part| layer_name(index, part));
        let of_linears = names.each_ref().map(|name| factors.get(name));
        parallel::for_each(visits.iter_mut(), |visit| {
            let read = visit.read.pop().unwrap_or_default();
            let trace = layer.forward(&read);
            let changes = layer.backward(&read, &trace, &visit.now);
            for (at, (factors, linear)) in of_linears.iter().zip(&layer.linears).enumerate() {
                let Some(factors) = factors else { continue };
                let (x, y, dy) = (trace.inputs()[at], trace.outputs()[at], &changes.outputs[at]);
                visit.slopes[at] = factors.slopes(linear, x, y, dy);
            }
            visit.now = changes.input;
        });
        let scale = (visits.len() * self.exact.window) as f32;
        for (at, name) in names.iter().enumerate() {
            let Some(factors) = factors.get_mut(name) else { continue };
            let mut slopes = vec![0.0; factors.values.len()];
            for visit in visits.iter() {
                slopes.iter_mut().zip(&visit.slopes[at]).for_each(|(sum, slope)| *sum += slope / scale);
            }
            factors.step(&slopes, self.schedule.rate, self.schedule.step + 1);
        }
        Ok(())
    }

    fn layer(&self, index: usize, factors: &BTreeMap<String, Factors>) -> Result<Layer<'_>, QuantizeError> {
        let config = self.job.config;
        let vector = |part: &str| Ok::<_, QuantizeError>(named(self.tensors, &layer_name(index, part))?.read_vector()?);
        let [q, k, v, o, gate, up, down] = LINEARS.map(|part| self.linear(&layer_name(index, part), factors));
        let head_norms = if config.qk_norm { Some([vector("q_norm")?, vector("k_norm")?]) } else { None };
        Ok(Layer {
            linears: [q?, k?, v?, o?, gate?, up?, down?],
            attn_norm: vector("attn_norm")?,
            ffn_norm: vector("ffn_norm")?,
            head_norms,
            attention: attention(config, index),
            angles: &self.angles,
            eps: config.norm_eps,
            residual_multiplier: config.residual_multiplier,
        })
    }

    fn linear(&self, name: &str, factors: &BTreeMap<String, Factors>) -> Result<Linear, QuantizeError> {
        let tensor = named(self.tensors, name)?;
        let mut weights = matrix::read(tensor)?;
        if let Some(factors) = factors.get(name) {
            factors.apply(&mut weights, tensor.cols());
        }
        let bias = self.tensors.get(&format!("{name}.bias")).map(Tensor::read_vector).transpose()?;
        Ok(Linear::new(weights, tensor.cols(), bias))
    }
}

pub(super) fn attention(config: &ModelConfig, layer: usize) -> Attention {
    let window = config.window.filter(|window| layer >= window.from_layer);
    Attention {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        scale: config.attention_scale.unwrap_or_else(|| (config.head_dim as f32).sqrt().recip()),
        sees: window.map_or(usize::MAX, |window| window.size),
    }
}

fn named<'a>(tensors: &'a BTreeMap<String, Tensor>, name: &str) -> Result<&'a Tensor, QuantizeError> {
    tensors.get(name).ok_or_else(|| QuantizeError::Missing(name.to_string()))
}
