//! One matrix for gate and up.
//!
//! ```text
//! %1: f32[n, 96] = linear %0, @gate: …     %1: f32[n, 192] = linear %0, concat_rows(@gate: …, @up: …)
//! %2: f32[n, 96] = linear %0, @up: …       %2: f32[n, 96] = slice_cols %1 {begin = 0, end = 96}
//! %3: f32[n, 96] = silu %1                 %3: f32[n, 96] = slice_cols %1 {begin = 96, end = 192}
//! %4: f32[n, 96] = mul %3, %2              %4: f32[n, 96] = silu %2
//!                                          %5: f32[n, 96] = mul %4, %3
//! ```

use tc_ir::{Graph, Op, Value};

use super::merge::merge_linears;

pub(super) fn run(graph: &Graph) -> Graph {
    let groups = graph.nodes.iter().filter_map(|node| gated(graph, &node.op));
    merge_linears(graph, &groups.map(Vec::from).collect::<Vec<_>>())
}

/// Gate and up of `silu(gate) * up`, in either order.
pub(super) fn gated(graph: &Graph, op: &Op) -> Option<[Value; 2]> {
    let Op::Mul { a, b } = *op else { return None };
    match (graph.op(a), graph.op(b)) {
        (Op::Silu { x }, _) => Some([*x, b]),
        (_, Op::Silu { x }) => Some([*x, a]),
        _ => None,
    }
}
