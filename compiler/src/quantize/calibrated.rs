//! Quantizing with a text, layer by layer.
//!
//! The inputs that a layer is fitted to are those that the layers before it give once they are quantized, activations included: so each
//! layer makes good what it can of the errors before it. Within a layer, all matrices see the inputs that its own floats make. One
//! layer's matrices, their moments and the text's hidden states are all that is in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use super::calibration::{Hidden, LayerRun, Moments, head_inputs};
use super::gptq::Gptq;
use super::matrix::{self, Inputs};
use super::{QuantizeError, awq, is_on_grid};
use crate::checkpoint::Tensor;
use crate::config::ModelConfig;
use crate::emit::Progress;
use crate::recipe::{Assignment, Method};

/// The matrices that read each of a layer's inputs.
pub const READERS: [&[&str]; 4] = [&["q", "k", "v"], &["o"], &["gate", "up"], &["down"]];

pub struct Job<'a> {
    pub config: &'a ModelConfig,
    pub quantize_activations: bool,
    /// The text's tokens; without, no method may need any.
    pub windows: Option<&'a [Vec<u32>]>,
    pub progress: Progress<'a>,
}

pub fn layer_name(layer: usize, part: &str) -> String {
    format!("layers.{layer}.{part}")
}

/// Whether quantizing this way reads a text.
pub fn needs_text(weights: &Assignment) -> bool {
    weights.methods().any(|method| matches!(method, Method::Awq | Method::Gptq))
}

impl Job<'_> {
    /// The tensors with quantized matrices, and what was folded into others.
    pub fn run(
        &self,
        weights: &Assignment,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>, QuantizeError> {
        let mut tensors = tensors.clone();
        let mut hidden = match (self.windows, tensors.get("embed")) {
            (Some(windows), Some(table)) => Some(Hidden::embed(self.config, table, weights.get("embed"), windows)?),
            _ => None,
        };
        for layer in 0..self.config.layers {
            self.report(layer)?;
            self.layer(layer, weights, &mut hidden, &mut tensors)?;
        }
        self.report(self.config.layers)?;
        self.head(weights, hidden.as_ref(), &mut tensors)?;
        Ok(tensors)
    }

    pub fn report(&self, layer: usize) -> Result<(), QuantizeError> {
        match (self.progress)(layer as u64, self.config.layers as u64 + 1).is_break() {
            true => Err(QuantizeError::Cancelled),
            false => Ok(()),
        }
    }

    fn layer(
        &self,
        layer: usize,
        weights: &Assignment,
        hidden: &mut Option<Hidden>,
        tensors: &mut BTreeMap<String, Tensor>,
    ) -> Result<(), QuantizeError> {
        let mut inputs = Vec::new();
        if let Some(hidden) = hidden {
            inputs = self.moments(layer, hidden, tensors)?.0;
            awq::rescale(self.config, layer, weights, &mut inputs, tensors)?;
        }
        for (at, readers) in READERS.iter().enumerate() {
            let names: Vec<String> = readers.iter().map(|reader| layer_name(layer, reader)).collect();
            self.matrices(weights, &names, inputs.get(at), tensors)?;
        }
        if let Some(hidden) = hidden {
            let run =
                LayerRun { config: self.config, tensors, weights, quantize_activations: self.quantize_activations };
            let mut next = Vec::with_capacity(hidden.rows.len());
            run.run(layer, hidden, &mut |rows| {
                rows.iter().for_each(|row| next.extend_from_slice(&row[row.len() - self.config.dim..]));
            })?;
            hidden.rows = next;
        }
        Ok(())
    }

    /// Of the layer's inputs, in the order of [`READERS`], and what its floats make of them.
    pub fn moments(
        &self,
        layer: usize,
        hidden: &Hidden,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<(Vec<Moments>, Vec<f32>), QuantizeError> {
        let config = self.config;
        let weights = Assignment::default();
        let run = LayerRun { config, tensors, weights: &weights, quantize_activations: false };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for width in [config.dim, config.q_width(), config.dim, config.ffn] {
            let begin = ranges.last().map_or(0, |range| range.end);
            ranges.push(begin..begin + width);
        }
        let mut moments: Vec<Moments> = ranges.iter().map(|range| Moments::new(range.len())).collect();
        let mut next = Vec::with_capacity(hidden.rows.len());
        run.run(layer, hidden, &mut |rows| {
            rows.iter().for_each(|row| next.extend_from_slice(&row[row.len() - config.dim..]));
            for (moments, range) in moments.iter_mut().zip(&ranges) {
                moments.add(&rows.iter().map(|row| &row[range.clone()]).collect::<Vec<_>>());
            }
        })?;
        Ok((moments, next))
    }

    /// Quantizes matrices that read the same input.
    fn matrices(
        &self,
        weights: &Assignment,
        names: &[String],
        moments: Option<&Moments>,
        tensors: &mut BTreeMap<String, Tensor>,
    ) -> Result<(), QuantizeError> {
        let mut gptq: Option<Gptq> = None;
        for name in names {
            let (Some(tensor), Some(weight), Some(method)) =
                (tensors.get(name), weights.get(name), weights.method(name))
            else {
                continue;
            };
            if !weight.kind.is_quantized() || is_on_grid(tensor, weight) {
                continue;
            }
            if let (Method::Gptq, Some(moments), None) = (method, moments, &gptq) {
                gptq = Some(Gptq::new(moments, name)?);
            }
            let quantized = matrix::quantize(tensor, weight, method, Inputs { moments, gptq: gptq.as_ref() })?;
            tensors.insert(name.clone(), quantized);
        }
        Ok(())
    }

    /// A table that is the embedding too is fitted to what the head reads.
    fn head(
        &self,
        weights: &Assignment,
        hidden: Option<&Hidden>,
        tensors: &mut BTreeMap<String, Tensor>,
    ) -> Result<(), QuantizeError> {
        let mut moments = None;
        if let Some(hidden) = hidden {
            let moments = moments.insert(Moments::new(self.config.dim));
            head_inputs(self.config, tensors, hidden, &mut |rows| moments.add(rows))?;
        }
        let name = if weights.shared_head { "embed" } else { "head" };
        if let (true, Some(table)) = (self.config.tied && name == "head", tensors.get("embed")) {
            tensors.insert(name.to_string(), table.clone());
        }
        self.matrices(weights, &[name.to_string()], moments.as_ref(), tensors)
    }
}
