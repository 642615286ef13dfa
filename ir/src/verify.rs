//! What a valid graph is: every node has the type that its op's rule gives, operands come before their users, the cache's
//! layers are written once each, in order, with one shape, before they are read, a weight's name has one type, and the
//! output is f32 rows.

use std::collections::HashMap;

use crate::error::InvalidGraph;
use crate::graph::{Graph, Node, Value};
use crate::infer::{Operands, infer};
use crate::op::{Effect, Op};
use crate::types::{Dtype, Type};
use crate::weight::Weight;

/// Collects everything that is wrong.
pub fn verify(graph: &Graph) -> Result<(), InvalidGraph> {
    let mut verifier = Verifier { graph, weights: HashMap::new(), layers: 0, cache: None, problems: Vec::new() };
    verifier.header();
    for (value, node) in graph.iter() {
        verifier.node(value, node);
    }
    verifier.output();
    if verifier.problems.is_empty() { Ok(()) } else { Err(InvalidGraph { problems: verifier.problems }) }
}

struct Verifier<'a> {
    graph: &'a Graph,
    weights: HashMap<&'a str, &'a Type>,
    /// Layers written so far.
    layers: u32,
    /// KV heads and head dimension of the first attention op.
    cache: Option<(u32, u32)>,
    problems: Vec<String>,
}

impl<'a> Verifier<'a> {
    fn header(&mut self) {
        let Graph { name, bounds, .. } = self.graph;
        if name.is_empty() || !name.chars().all(crate::weight::is_name_char) {
            self.problems.push(format!("graph @{name}: not a name"));
        }
        if bounds.tokens == 0 || bounds.rows == 0 || bounds.rows > bounds.tokens {
            self.problems.push(format!("graph @{name}: no call has 1..={} rows of {}", bounds.rows, bounds.tokens));
        }
    }

    fn node(&mut self, value: Value, node: &'a Node) {
        let graph = self.graph;
        let before = Operands { types: &|operand| (operand < value).then(|| &graph.nodes[operand.index()].ty) };
        match infer(&node.op, &before) {
            Ok(ty) if ty == node.ty => {}
            Ok(ty) => self.blame(value, format!("its type is {ty}")),
            Err(message) => self.blame(value, message),
        }
        node.op.weights(&mut |weight| self.weight(value, weight));
        self.cache(value, &node.op);
    }

    fn weight(&mut self, value: Value, weight: &'a Weight) {
        for part in &weight.parts {
            let known = *self.weights.entry(&part.name).or_insert(&part.ty);
            if *known != part.ty {
                self.blame(value, format!("@{} is {known} elsewhere", part.name));
            }
        }
    }

    fn cache(&mut self, value: Value, op: &Op) {
        let (Op::Attention { kv_heads, head_dim, .. }
        | Op::RopeKv { kv_heads, head_dim, .. }
        | Op::CachedAttention { kv_heads, head_dim, .. }) = *op
        else {
            return;
        };
        let (kv, dim) = *self.cache.get_or_insert((kv_heads, head_dim));
        if (kv, dim) != (kv_heads, head_dim) {
            self.blame(value, format!("the cache has {kv} heads of {dim} elsewhere"));
        }
        match op.effect() {
            Effect::Writes { layer } if layer == self.layers => self.layers += 1,
            Effect::Writes { layer } => {
                self.blame(value, format!("writes layer {layer} of the cache where {} is next", self.layers));
            }
            Effect::Reads { layer } if layer >= self.layers => {
                self.blame(value, format!("layer {layer} of the cache is not written yet"));
            }
            Effect::Reads { .. } | Effect::None => {}
        }
    }

    fn output(&mut self) {
        let output = self.graph.output;
        match self.graph.nodes.get(output.index()) {
            Some(node) if node.ty.dtype == Dtype::F32 => {}
            Some(_) => self.blame(output, "the output must be f32".to_string()),
            None => self.problems.push(format!("output {output} is not defined")),
        }
    }

    fn blame(&mut self, value: Value, message: String) {
        self.problems.push(format!("{}: {message}", self.graph.line(value)));
    }
}
