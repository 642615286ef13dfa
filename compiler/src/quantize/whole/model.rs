//! A model's layers, one at a time, and windows on their way through them.

use std::collections::BTreeMap;

use super::attention::Attention;
use super::factors::Factors;
use super::layer::{Changes, LINEARS, Layer, Linear, Trace};
use super::ops::Angles;
use crate::checkpoint::Tensor;
use crate::config::{ModelConfig, RopeScaling};
use crate::models::inverse_frequencies;
use crate::parallel;
use crate::quantize::calibrated::{Job, layer_name};
use crate::quantize::calibration::Hidden;
use crate::quantize::{QuantizeError, matrix};
use crate::recipe::Assignment;

pub struct Model<'a> {
    pub config: &'a ModelConfig,
    tensors: &'a BTreeMap<String, Tensor>,
    head: &'a str,
    /// What the first layer reads.
    embedded: Hidden,
    angles: Angles,
}

/// A window on its way.
pub struct Visit<T> {
    pub window: usize,
    /// What each layer read so far.
    read: Vec<Vec<f32>>,
    /// What the last layer gave and, on the way back, how a loss changes with it.
    pub now: Vec<f32>,
    pub found: T,
}

impl<'a> Model<'a> {
    /// Of these tensors; `weights` says how the embedding is stored, and where the head is.
    pub fn new(
        job: &'a Job<'a>,
        weights: &Assignment,
        windows: &[Vec<u32>],
        tensors: &'a BTreeMap<String, Tensor>,
    ) -> Result<Model<'a>, QuantizeError> {
        let config = job.config;
        let magnitude = match config.rope.scaling {
            RopeScaling::Yarn { magnitude, .. } => magnitude as f32,
            _ => 1.0,
        };
        let frequencies = inverse_frequencies(&config.rope, config.head_dim);
        let embedded = Hidden::embed(config, named(tensors, "embed")?, weights.get("embed"), windows)?;
        let angles = Angles::new(&frequencies, magnitude, embedded.window);
        let head = if weights.shared_head || !tensors.contains_key("head") { "embed" } else { "head" };
        Ok(Model { config, tensors, head, embedded, angles })
    }

    /// Tokens of a window.
    pub fn window(&self) -> usize {
        self.embedded.window
    }

    /// Some windows before the first layer.
    pub fn visits<T: Default>(&self, windows: impl IntoIterator<Item = usize>) -> Vec<Visit<T>> {
        let begin = |window| {
            let now = self.embedded.rows_of(window).to_vec();
            Visit { window, read: Vec::new(), now, found: T::default() }
        };
        windows.into_iter().map(begin).collect()
    }

    /// The last norm's gain.
    pub fn norm(&self) -> Result<Vec<f32>, QuantizeError> {
        Ok(named(self.tensors, "norm")?.read_vector()?)
    }

    /// The table that predicts, multiplied by what the model multiplies predictions by.
    pub fn table(&self) -> Result<Vec<f32>, QuantizeError> {
        predicting(self.config, named(self.tensors, self.head)?)
    }

    /// The same of a checkpoint.
    pub fn table_of(config: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<f32>, QuantizeError> {
        predicting(config, tensors.get("head").map_or_else(|| named(tensors, "embed"), Ok)?)
    }

    /// The matrices that have factors are multiplied by these.
    pub fn layer(&self, index: usize, factors: &BTreeMap<String, Factors>) -> Result<Layer<'_>, QuantizeError> {
        let config = self.config;
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

fn predicting(config: &ModelConfig, table: &Tensor) -> Result<Vec<f32>, QuantizeError> {
    let mut values = matrix::read(table)?;
    values.iter_mut().for_each(|value| *value /= config.logits_divisor);
    Ok(values)
}

/// All windows through the next layer.
pub fn forward<T: Send>(layer: &Layer, visits: &mut [Visit<T>]) {
    parallel::for_each(visits.iter_mut(), |visit| {
        let out = layer.forward(&visit.now).out;
        visit.read.push(std::mem::replace(&mut visit.now, out));
    });
}

/// All windows back through the last layer that they went through.
pub fn backward<T: Send>(layer: &Layer, visits: &mut [Visit<T>], see: impl Fn(&Trace, &Changes, &mut T) + Sync) {
    parallel::for_each(visits.iter_mut(), |visit| {
        let read = visit.read.pop().unwrap_or_default();
        let trace = layer.forward(&read);
        let changes = layer.backward(&read, &trace, &visit.now);
        see(&trace, &changes, &mut visit.found);
        visit.now = changes.input;
    });
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
