//! The ops, each defined once: operands in parentheses, attributes in braces, with their defaults.
//!
//! Printer, parser, operand walk and the random graphs of the tests all derive from this list; a new op needs a line
//! here, its type rule in `infer.rs`, its meaning in `interp/`, and, if frontends build it, a method in `build.rs`.

mod field;
pub(crate) use field::Attribute;
#[macro_use]
mod macros;

use crate::graph::Value;
use crate::weight::Weight;

ops! {
    // Plain ops, which frontends build.

    /// `y = scale * table[token]` for each token.
    Embed "embed" (table: Weight) { scale: f32 = 1.0 }

    /// For each token at position `p`: `magnitude * cos(p f_i)`, then `magnitude * sin(p f_i)`, for all inverse
    /// frequencies `f`. With `dynamic_factor > 0` (dynamic NTK) a token at `p >= original` takes the frequencies of the base
    /// `theta * (factor * (p + 1) / original - (factor - 1)) ^ (d / (d - 2))`, where `d` is twice the number of `f`.
    RopeTable "rope_table" (inv_freq: Weight) {
        theta: f32, magnitude: f32 = 1.0, dynamic_factor: f32 = 0.0, original: u32 = 0
    }

    /// `y = x / sqrt(mean(x²) + eps) * w`, over whole rows, or over each `chunk` columns of a row (qk-norm).
    RmsNorm "rms_norm" (x: Value, w: Weight) { eps: f32, chunk: Option<u32> = None }

    /// `y = alpha * (w x + bias) + residual`. Frontends leave the residual and alpha to the passes.
    Linear "linear" (x: Value, w: Weight, bias: Option<Weight>, residual: Option<Value>) { alpha: f32 = 1.0 }

    /// Rotates each head by the angles of the table, by halves: the pairs are `(x_i, x_{i + head_dim / 2})`.
    Rope "rope" (x: Value, table: Value) {}

    /// Appends `k` and `v` to the cache of this layer; then each token attends causally, over its own sequence, to the
    /// positions up to and with its own, the last `window` of them if that is given.
    Attention "attention" (q: Value, k: Value, v: Value) {
        layer: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32, window: Option<u32> = None
    }

    /// `y = x / (1 + exp(-x))`.
    Silu "silu" (x: Value) {}

    /// `y = a * b`.
    Mul "mul" (a: Value, b: Value) {}

    /// `y = a + scale * b`.
    Add "add" (a: Value, b: Value) { scale: f32 = 1.0 }

    /// `y = factor * x`.
    Scale "scale" (x: Value) { factor: f32 }

    /// From the `n` tokens to the `m` rows whose logits are asked for.
    GatherRows "gather_rows" (x: Value) {}

    /// Columns `begin..end`.
    SliceCols "slice_cols" (x: Value) { begin: u32, end: u32 }

    // Fused ops, which passes make.

    /// The columns of `a`, then those of `b`.
    ConcatCols "concat_cols" (a: Value, b: Value) {}

    /// `y = silu(x[..d]) * x[d..]`, where `x` is `2 d` wide.
    Swiglu "swiglu" (x: Value) {}

    /// Of rows `[q | k | v]`: norms q and k per head where weights are given, rotates them, appends k and v to the
    /// cache of this layer; the result is q.
    RopeKv "rope_kv" (qkv: Value, table: Value, q_norm: Option<Weight>, k_norm: Option<Weight>) {
        layer: u32, heads: u32, kv_heads: u32, head_dim: u32, eps: f32 = 0.0
    }

    /// `attention` over what `rope_kv` of this layer has put into the cache.
    CachedAttention "cached_attention" (q: Value) {
        layer: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32, window: Option<u32> = None
    }

    /// f32 rows to q8 rows, or to q8x2 rows of two planes.
    QuantizeQ8 "quantize_q8" (x: Value) { planes: u32 = 1 }

    /// `quantize_q8(rms_norm(x, w))`.
    RmsNormQ8 "rms_norm_q8" (x: Value, w: Weight) { eps: f32, planes: u32 = 1 }

    /// `quantize_q8(swiglu(x))`.
    SwigluQ8 "swiglu_q8" (x: Value) { planes: u32 = 1 }

    /// `linear` of a quantized weight with q8 or q8x2 rows.
    LinearQ8 "linear_q8" (x: Value, w: Weight, bias: Option<Weight>, residual: Option<Value>) { alpha: f32 = 1.0 }
}

/// What an op does to the KV cache, beside giving its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Reads {
        layer: u32,
    },
    /// Appends to the cache of the layer (and perhaps reads it after).
    Writes {
        layer: u32,
    },
}

impl Op {
    pub fn effect(&self) -> Effect {
        match *self {
            Op::CachedAttention { layer, .. } => Effect::Reads { layer },
            Op::Attention { layer, .. } | Op::RopeKv { layer, .. } => Effect::Writes { layer },
            _ => Effect::None,
        }
    }

    /// May equal ops be one, and the op go when nobody uses its result?
    pub fn is_pure(&self) -> bool {
        self.effect() == Effect::None
    }
}
