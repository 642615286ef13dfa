//! The Llama family's graph.

use tc_ir::{AttentionSpec, Bounds, Builder, Dtype, Graph, InvalidGraph, Op, Value, Weight};

use super::rope::INV_FREQ;
use crate::config::{ModelConfig, RopeScaling};
use crate::lower::dtype;
use crate::recipe::Assignment;

/// The table of the inputs in the graphs of [`build_half`] and [`build_head`], a row for each token.
pub const HIDDEN: &str = "$hidden";

/// The plain graph of a model whose matrices are stored as `weights` says; at most `bounds` tokens and rows a call.
pub fn build(config: &ModelConfig, weights: &Assignment, bounds: Bounds) -> Result<Graph, InvalidGraph> {
    let mut model = Model::new(config, weights, bounds);
    let table = model.rope_table();
    let embed = model.matrix("embed", config.vocab, config.dim);
    let embedded = model.b.embed(embed);
    let mut x = model.scaled(embedded, config.embedding_multiplier);
    for layer in 0..config.layers {
        x = model.attention_block(x, table, layer);
        x = model.ffn_block(x, layer);
    }
    let rows = model.b.gather_rows(x);
    let rows = model.norm(rows, "norm");
    let logits = model.head(rows);
    model.b.finish(logits)
}

/// The halves of a layer, a residual around each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Attention,
    Ffn,
}

impl Half {
    pub const ALL: [Half; 2] = [Half::Attention, Half::Ffn];

    /// The matrices that read its first input, and the one that reads what these make.
    pub fn readers(self) -> [&'static [&'static str]; 2] {
        match self {
            Half::Attention => [&["q", "k", "v"], &["o"]],
            Half::Ffn => [&["gate", "up"], &["down"]],
        }
    }

    /// Columns of the two inputs.
    pub fn widths(self, config: &ModelConfig) -> [usize; 2] {
        match self {
            Half::Attention => [config.dim, config.q_width()],
            Half::Ffn => [config.dim, config.ffn],
        }
    }
}

/// What half a layer by itself gives, in columns one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// The two inputs of its matrices. The one that reads the second does nothing then.
    Inputs,
    /// The same, and then the half's output.
    All,
}

impl Gives {
    pub fn width(self, half: Half, config: &ModelConfig) -> usize {
        let output = if self == Gives::All { config.dim } else { 0 };
        half.widths(config).iter().sum::<usize>() + output
    }
}

/// Half a layer by itself, from rows of [`HIDDEN`]. Its columns come again from the start until there are as many as tokens.
pub fn build_half(
    config: &ModelConfig,
    weights: &Assignment,
    bounds: Bounds,
    (layer, half): (usize, Half),
    gives: Gives,
    tokens: usize,
) -> Result<Graph, InvalidGraph> {
    let mut model = Model { first_layer: layer, ..Model::new(config, weights, bounds) };
    let x = model.hidden(tokens);
    let x = match half {
        Half::Attention => {
            let table = model.rope_table();
            model.attention_block(x, table, layer)
        }
        Half::Ffn => model.ffn_block(x, layer),
    };
    let mut values = std::mem::take(&mut model.inputs);
    if gives == Gives::All {
        values.push(x);
    }
    let mut joined = values.into_iter().reduce(|a, b| model.b.push(Op::ConcatCols { a, b })).unwrap_or(x);
    let mut width = gives.width(half, config);
    while width < tokens {
        joined = model.b.push(Op::ConcatCols { a: joined, b: joined });
        width *= 2;
    }
    let rows = model.b.gather_rows(joined);
    model.b.finish(rows)
}

/// The head by itself, from rows of [`HIDDEN`]: its inputs, or with `logits` what it makes of them.
pub fn build_head(config: &ModelConfig, bounds: Bounds, tokens: usize, logits: bool) -> Result<Graph, InvalidGraph> {
    let weights = Assignment::default();
    let mut model = Model::new(config, &weights, bounds);
    let x = model.hidden(tokens);
    let rows = model.b.gather_rows(x);
    let mut rows = model.norm(rows, "norm");
    if logits {
        rows = model.head(rows);
    }
    model.b.finish(rows)
}

struct Model<'a> {
    config: &'a ModelConfig,
    weights: &'a Assignment,
    b: Builder,
    /// Layers before it are not in the graph, nor in the cache.
    first_layer: usize,
    /// Of the linears, in order; those that share one count once.
    inputs: Vec<Value>,
}

impl<'a> Model<'a> {
    fn new(config: &'a ModelConfig, weights: &'a Assignment, bounds: Bounds) -> Model<'a> {
        Model { config, weights, b: Builder::new(config.family.name(), bounds), first_layer: 0, inputs: Vec::new() }
    }

    fn hidden(&mut self, tokens: usize) -> Value {
        self.b.embed(Weight::matrix(HIDDEN, Dtype::F32, tokens as u32, self.config.dim as u32))
    }

    fn rope_table(&mut self) -> Value {
        let inv_freq = Weight::vector(INV_FREQ, self.config.head_dim as u32 / 2);
        let theta = self.config.rope.theta as f32;
        match self.config.rope.scaling {
            RopeScaling::Dynamic { factor, original } => {
                self.b.dynamic_rope_table(inv_freq, theta, factor as f32, original as u32)
            }
            RopeScaling::Yarn { magnitude, .. } => self.b.rope_table(inv_freq, theta, magnitude as f32),
            _ => self.b.rope_table(inv_freq, theta, 1.0),
        }
    }

    fn attention_block(&mut self, x: Value, table: Value, layer: usize) -> Value {
        let config = self.config;
        let name = |part: &str| format!("layers.{layer}.{part}");
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let h = self.norm(x, &name("attn_norm"));
        self.inputs.push(h);
        let q = self.linear(h, &name("q"), [q_width, config.dim], config.qkv_bias);
        let k = self.linear(h, &name("k"), [kv_width, config.dim], config.qkv_bias);
        let v = self.linear(h, &name("v"), [kv_width, config.dim], config.qkv_bias);
        let q = self.head_norm(q, &name("q_norm"));
        let k = self.head_norm(k, &name("k_norm"));
        let q = self.b.rope(q, table);
        let k = self.b.rope(k, table);
        let y = self.b.attention(q, k, v, self.attention_spec(layer));
        self.inputs.push(y);
        let y = self.linear(y, &name("o"), [config.dim, q_width], config.o_bias);
        self.residual(x, y)
    }

    fn attention_spec(&self, layer: usize) -> AttentionSpec {
        let config = self.config;
        let window = config.window.filter(|window| layer >= window.from_layer);
        AttentionSpec {
            layer: (layer - self.first_layer) as u32,
            heads: config.heads as u32,
            kv_heads: config.kv_heads as u32,
            head_dim: config.head_dim as u32,
            scale: config.attention_scale.unwrap_or_else(|| (config.head_dim as f32).sqrt().recip()),
            window: window.map(|window| window.size as u32),
        }
    }

    fn ffn_block(&mut self, x: Value, layer: usize) -> Value {
        let config = self.config;
        let name = |part: &str| format!("layers.{layer}.{part}");
        let h = self.norm(x, &name("ffn_norm"));
        self.inputs.push(h);
        let gate = self.linear(h, &name("gate"), [config.ffn, config.dim], config.mlp_bias);
        let up = self.linear(h, &name("up"), [config.ffn, config.dim], config.mlp_bias);
        let gate = self.b.silu(gate);
        let h = self.b.mul(gate, up);
        self.inputs.push(h);
        let y = self.linear(h, &name("down"), [config.dim, config.ffn], config.mlp_bias);
        self.residual(x, y)
    }

    fn head(&mut self, rows: Value) -> Value {
        let name = if self.weights.shared_head { "embed" } else { "head" };
        let head = self.matrix(name, self.config.vocab, self.config.dim);
        let logits = self.b.linear(rows, head, None);
        self.scaled(logits, 1.0 / self.config.logits_divisor)
    }

    fn residual(&mut self, x: Value, y: Value) -> Value {
        let y = self.scaled(y, self.config.residual_multiplier);
        self.b.add(x, y)
    }

    fn scaled(&mut self, x: Value, factor: f32) -> Value {
        if factor == 1.0 { x } else { self.b.scale(x, factor) }
    }

    fn norm(&mut self, x: Value, name: &str) -> Value {
        self.b.rms_norm(x, Weight::vector(name, self.config.dim as u32), self.config.norm_eps)
    }

    fn head_norm(&mut self, x: Value, name: &str) -> Value {
        if !self.config.qk_norm {
            return x;
        }
        let head_dim = self.config.head_dim as u32;
        self.b.head_norm(x, Weight::vector(name, head_dim), self.config.norm_eps, head_dim)
    }

    fn linear(&mut self, x: Value, name: &str, [rows, cols]: [usize; 2], bias: bool) -> Value {
        let bias = bias.then(|| Weight::vector(format!("{name}.bias"), rows as u32));
        let w = self.matrix(name, rows, cols);
        self.b.linear(x, w, bias)
    }

    /// A matrix whose format nobody gave (only tests leave one out) is f32.
    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Weight {
        let dtype = self.weights.get(name).map_or(Dtype::F32, dtype);
        Weight::matrix(name, dtype, rows as u32, cols as u32)
    }
}
