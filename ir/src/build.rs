//! Builds graphs op by op. Types are inferred; mistakes are found by [`Builder::finish`], which verifies.

use crate::error::InvalidGraph;
use crate::graph::{Bounds, Graph, Node, Value};
use crate::infer::{Operands, infer};
use crate::op::Op;
use crate::types::{Dim, Dtype, Type};
use crate::verify::verify;
use crate::weight::Weight;

#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    bounds: Bounds,
    nodes: Vec<Node>,
}

/// What all attention ops of one layer agree on.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSpec {
    pub layer: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub scale: f32,
    pub window: Option<u32>,
}

impl Builder {
    pub fn new(name: impl Into<String>, bounds: Bounds) -> Builder {
        Builder { name: name.into(), bounds, nodes: Vec::new() }
    }

    /// Any op. One whose operands do not fit gets an empty type, which the verifier then reports.
    pub fn push(&mut self, op: Op) -> Value {
        let nodes = &self.nodes;
        let operands = Operands { types: &|value| nodes.get(value.index()).map(|node| &node.ty) };
        let ty = infer(&op, &operands).unwrap_or(Type::activation(Dtype::F32, Dim::Tokens, 0));
        self.nodes.push(Node { op, ty });
        Value((self.nodes.len() - 1) as u32)
    }

    pub fn finish(self, output: Value) -> Result<Graph, InvalidGraph> {
        let graph = self.finish_unverified(output);
        verify(&graph)?;
        Ok(graph)
    }

    /// For passes, whose pipeline verifies and blames them by name.
    pub fn finish_unverified(self, output: Value) -> Graph {
        Graph { name: self.name, bounds: self.bounds, nodes: self.nodes, output }
    }

    pub fn ty(&self, value: Value) -> &Type {
        &self.nodes[value.index()].ty
    }

    // The plain ops; `Op` says what each computes.

    /// Rows of the table for the call's tokens.
    pub fn embed(&mut self, table: Weight) -> Value {
        self.push(Op::Embed { table, scale: 1.0 })
    }

    /// Rotation angles for the call's positions, from given inverse frequencies (which carry any linear, llama3 or YaRN
    /// scaling; `magnitude` is YaRN's). `theta` only matters to [`Builder::dynamic_rope_table`].
    pub fn rope_table(&mut self, inv_freq: Weight, theta: f32, magnitude: f32) -> Value {
        self.push(Op::RopeTable { inv_freq, theta, magnitude, dynamic_factor: 0.0, original: 0 })
    }

    /// Dynamic NTK: beyond `original` positions, frequencies follow the length.
    pub fn dynamic_rope_table(&mut self, inv_freq: Weight, theta: f32, factor: f32, original: u32) -> Value {
        self.push(Op::RopeTable { inv_freq, theta, magnitude: 1.0, dynamic_factor: factor, original })
    }

    pub fn rms_norm(&mut self, x: Value, w: Weight, eps: f32) -> Value {
        self.push(Op::RmsNorm { x, w, eps, chunk: None })
    }

    /// Norms each head by itself (qk-norm); `w` has `head_dim` values.
    pub fn head_norm(&mut self, x: Value, w: Weight, eps: f32, head_dim: u32) -> Value {
        self.push(Op::RmsNorm { x, w, eps, chunk: Some(head_dim) })
    }

    pub fn linear(&mut self, x: Value, w: Weight, bias: Option<Weight>) -> Value {
        self.push(Op::Linear { x, w, bias, residual: None, alpha: 1.0 })
    }

    pub fn rope(&mut self, x: Value, table: Value) -> Value {
        self.push(Op::Rope { x, table })
    }

    pub fn attention(&mut self, q: Value, k: Value, v: Value, spec: AttentionSpec) -> Value {
        let AttentionSpec { layer, heads, kv_heads, head_dim, scale, window } = spec;
        self.push(Op::Attention { q, k, v, layer, heads, kv_heads, head_dim, scale, window })
    }

    pub fn silu(&mut self, x: Value) -> Value {
        self.push(Op::Silu { x })
    }

    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.push(Op::Mul { a, b })
    }

    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.push(Op::Add { a, b, scale: 1.0 })
    }

    pub fn scale(&mut self, x: Value, factor: f32) -> Value {
        self.push(Op::Scale { x, factor })
    }

    pub fn gather_rows(&mut self, x: Value) -> Value {
        self.push(Op::GatherRows { x })
    }

    pub fn slice_cols(&mut self, x: Value, begin: u32, end: u32) -> Value {
        self.push(Op::SliceCols { x, begin, end })
    }
}
