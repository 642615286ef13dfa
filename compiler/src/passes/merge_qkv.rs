//! One matrix for q, k and v.
//!
//! ```text
//! %1: f32[n, 64] = linear %0, @q: …     %1: f32[n, 128] = linear %0, concat_rows(@q: …, @k: …, @v: …)
//! %2: f32[n, 32] = linear %0, @k: …     %2: f32[n, 64] = slice_cols %1 {begin = 0, end = 64}
//! %3: f32[n, 32] = linear %0, @v: …     %3: f32[n, 32] = slice_cols %1 {begin = 64, end = 96}
//!                                       %4: f32[n, 32] = slice_cols %1 {begin = 96, end = 128}
//! ```
//! Where their types differ only neighbours of one type merge: q with k, or k with v.

use tc_ir::{Graph, Op, Value};

use super::merge::merge_linears;

pub(super) fn run(graph: &Graph) -> Graph {
    let groups = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Attention { q, k, v, .. } => Some([q, k, v].map(|value| projection(graph, value)).to_vec()),
        _ => None,
    });
    merge_linears(graph, &groups.collect::<Vec<_>>())
}

/// What was projected, before rotation and per-head norm.
fn projection(graph: &Graph, mut value: Value) -> Value {
    while let Op::Rope { x, .. } | Op::RmsNorm { x, chunk: Some(_), .. } = graph.op(value) {
        value = *x;
    }
    value
}
