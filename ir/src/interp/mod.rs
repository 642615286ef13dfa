//! What graphs compute, in plain f32 (sums of products in f64): the oracle that passes and kernels are held to.
//!
//! A q8 tensor is kept as the f32 values that its rows stand for, a quantized weight as its dequantized values, which the
//! caller supplies; so fused and quantized ops are the plain ones after rounding.

mod cache;
mod tensor;

use std::collections::HashMap;

use crate::error::RunError;
use crate::graph::{Graph, Value};
use crate::op::Op;
use crate::verify::verify;
use crate::weight::Weight;
use cache::{Cache, Heads};
pub use tensor::Tensor;
use tensor::{Matrix, linear};

/// One call: a ragged batch of tokens. A sequence's tokens come in order of position, each at most one past the
/// positions that the cache has; a token at an earlier position rewinds its sequence.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub sequences: Vec<u32>,
    /// Indices of the tokens whose rows are asked for.
    pub rows: Vec<u32>,
}

impl Batch {
    /// Consecutive tokens of one sequence, asking for every row.
    pub fn sequence(sequence: u32, first_position: u32, tokens: &[u32]) -> Batch {
        let count = tokens.len() as u32;
        Batch {
            tokens: tokens.to_vec(),
            positions: (first_position..first_position + count).collect(),
            sequences: vec![sequence; tokens.len()],
            rows: (0..count).collect(),
        }
    }

    /// The tokens of both, the other's after this one's.
    pub fn and(mut self, other: &Batch) -> Batch {
        let shift = self.tokens.len() as u32;
        self.tokens.extend(&other.tokens);
        self.positions.extend(&other.positions);
        self.sequences.extend(&other.sequences);
        self.rows.extend(other.rows.iter().map(|row| row + shift));
        self
    }
}

/// A graph with its weights and the cache of its calls so far.
pub struct Interpreter<'g> {
    graph: &'g Graph,
    weights: HashMap<String, Vec<f32>>,
    cache: Cache,
}

impl<'g> Interpreter<'g> {
    /// `weights` gives each named weight as f32, row by row: quantized ones dequantized.
    pub fn new(
        graph: &'g Graph,
        mut weights: impl FnMut(&str) -> Option<Vec<f32>>,
    ) -> Result<Interpreter<'g>, RunError> {
        verify(graph).map_err(|error| RunError(error.to_string()))?;
        let mut parts = Vec::new();
        graph.nodes.iter().for_each(|node| node.op.weights(&mut |weight| parts.extend(&weight.parts)));
        let mut loaded = HashMap::new();
        for part in parts {
            let values = weights(&part.name).ok_or_else(|| RunError(format!("no weight @{}", part.name)))?;
            let size: usize = part.ty.constant_size().unwrap_or(0);
            if values.len() != size {
                return Err(RunError(format!("{part} needs {size} values, got {}", values.len())));
            }
            loaded.insert(part.name.clone(), values);
        }
        Ok(Interpreter { graph, weights: loaded, cache: Cache::default() })
    }

    /// The output's rows.
    pub fn run(&mut self, batch: &Batch) -> Result<Tensor, RunError> {
        self.check(batch)?;
        self.cache.begin(batch)?;
        let mut values: Vec<Tensor> = Vec::with_capacity(self.graph.nodes.len());
        for node in &self.graph.nodes {
            let value = self.eval(&node.op, batch, &values)?;
            values.push(value);
        }
        Ok(values.swap_remove(self.graph.output.index()))
    }

    fn check(&self, batch: &Batch) -> Result<(), RunError> {
        let tokens = batch.tokens.len();
        let bounds = self.graph.bounds;
        if tokens > bounds.tokens as usize || batch.rows.len() > bounds.rows as usize {
            return Err(RunError(format!("{tokens} tokens and {} rows exceed the bounds", batch.rows.len())));
        }
        if batch.positions.len() != tokens || batch.sequences.len() != tokens {
            return Err(RunError("each token needs a position and a sequence".to_string()));
        }
        match batch.rows.iter().find(|row| **row as usize >= tokens) {
            Some(row) => Err(RunError(format!("row {row} of {tokens} tokens"))),
            None => Ok(()),
        }
    }

    fn eval(&mut self, op: &Op, batch: &Batch, values: &[Tensor]) -> Result<Tensor, RunError> {
        let get = |value: Value| &values[value.index()];
        Ok(match op {
            Op::Embed { table, scale } => self.matrix(table).rows_of(&batch.tokens)?.map(|x| scale * x),
            Op::RopeTable { inv_freq, theta, magnitude, dynamic_factor, original } => {
                let dynamic = Dynamic { theta: *theta, factor: *dynamic_factor, original: *original };
                rope_table(&self.vector(inv_freq), *magnitude, &dynamic, &batch.positions)
            }
            Op::RmsNorm { x, w, eps, chunk } => {
                let chunk = chunk.map_or(get(*x).width, |chunk| chunk as usize);
                get(*x).rms_norm(&self.vector(w), *eps, chunk)
            }
            Op::RmsNormQ8 { x, w, eps, planes } => {
                get(*x).rms_norm(&self.vector(w), *eps, get(*x).width).quantize_q8(*planes)
            }
            Op::Linear { x, w, bias, residual, alpha } | Op::LinearQ8 { x, w, bias, residual, alpha } => {
                let bias = bias.as_ref().map(|bias| self.vector(bias));
                let y = linear(&self.matrix(w), get(*x), bias.as_deref()).map(|y| alpha * y);
                residual.map_or(y.clone(), |residual| y.zip(get(residual), |y, residual| y + residual))
            }
            Op::Rope { x, table } => get(*x).rope(get(*table)),
            Op::Attention { q, k, v, layer, heads, kv_heads, head_dim, scale, window } => {
                let heads = Heads::new(*heads, *kv_heads, *head_dim);
                self.cache.write(*layer, batch, get(*k), get(*v));
                self.cache.attend(*layer, batch, get(*q), &heads, *scale, *window)
            }
            Op::CachedAttention { q, layer, heads, kv_heads, head_dim, scale, window } => {
                let heads = Heads::new(*heads, *kv_heads, *head_dim);
                self.cache.attend(*layer, batch, get(*q), &heads, *scale, *window)
            }
            Op::RopeKv { qkv, table, q_norm, k_norm, layer, heads, kv_heads, head_dim, eps } => {
                let Heads { q, kv, head_dim, .. } = Heads::new(*heads, *kv_heads, *head_dim);
                let rotated = |x: Tensor, norm: &Option<Weight>| match norm {
                    Some(w) => x.rms_norm(&self.vector(w), *eps, head_dim).rope(get(*table)),
                    None => x.rope(get(*table)),
                };
                let k = rotated(get(*qkv).slice_cols(q, q + kv), k_norm);
                let q_rows = rotated(get(*qkv).slice_cols(0, q), q_norm);
                self.cache.write(*layer, batch, &k, &get(*qkv).slice_cols(q + kv, q + 2 * kv));
                q_rows
            }
            Op::Silu { x } => get(*x).map(silu),
            Op::Mul { a, b } => get(*a).zip(get(*b), |a, b| a * b),
            Op::Add { a, b, scale } => get(*a).zip(get(*b), |a, b| a + scale * b),
            Op::Scale { x, factor } => get(*x).map(|x| factor * x),
            Op::GatherRows { x } => get(*x).gather_rows(&batch.rows),
            Op::SliceCols { x, begin, end } => get(*x).slice_cols(*begin as usize, *end as usize),
            Op::ConcatCols { a, b } => get(*a).concat_cols(get(*b)),
            Op::Swiglu { x } => swiglu(get(*x)),
            Op::SwigluQ8 { x, planes } => swiglu(get(*x)).quantize_q8(*planes),
            Op::QuantizeQ8 { x, planes } => get(*x).quantize_q8(*planes),
        })
    }

    fn matrix(&self, weight: &Weight) -> Matrix<'_> {
        let cols = weight.ty().ok().and_then(|ty| ty.as_matrix()).map_or(0, |(_, cols)| cols as usize);
        Matrix { parts: weight.parts.iter().map(|part| &self.weights[&part.name][..]).collect(), cols }
    }

    fn vector(&self, weight: &Weight) -> Vec<f32> {
        weight.parts.iter().flat_map(|part| &self.weights[&part.name]).copied().collect()
    }
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

fn swiglu(x: &Tensor) -> Tensor {
    let half = x.width / 2;
    x.slice_cols(0, half).map(silu).zip(&x.slice_cols(half, x.width), |gate, up| gate * up)
}

struct Dynamic {
    theta: f32,
    factor: f32,
    original: u32,
}

impl Dynamic {
    /// Inverse frequencies of a token beyond the original length, as `Op::RopeTable` says.
    fn inv_freq(&self, position: u32, half: usize) -> Option<Vec<f32>> {
        if self.factor <= 0.0 || position < self.original {
            return None;
        }
        let (factor, d) = (f64::from(self.factor), 2.0 * half as f64);
        let stretch = factor * (f64::from(position) + 1.0) / f64::from(self.original) - (factor - 1.0);
        let base = f64::from(self.theta) * stretch.powf(d / (d - 2.0));
        Some((0..half).map(|i| base.powf(-2.0 * i as f64 / d) as f32).collect())
    }
}

fn rope_table(inv_freq: &[f32], magnitude: f32, dynamic: &Dynamic, positions: &[u32]) -> Tensor {
    let mut data = Vec::with_capacity(positions.len() * 2 * inv_freq.len());
    for &position in positions {
        let stretched = dynamic.inv_freq(position, inv_freq.len());
        let angles = || stretched.as_deref().unwrap_or(inv_freq).iter().map(|f| position as f32 * f);
        data.extend(angles().map(|angle| magnitude * angle.cos()));
        data.extend(angles().map(|angle| magnitude * angle.sin()));
    }
    Tensor { width: 2 * inv_freq.len(), data }
}
