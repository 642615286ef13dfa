//! Drops the nodes that nobody uses. Nodes that write the cache stay.
//!
//! ```text
//! %1: f32[n, 8] = silu %0        %1: f32[n, 8] = scale %0 {factor = 2.0}
//! %2: f32[n, 8] = scale %0 …     output %1
//! output %2
//! ```

use tc_ir::{Effect, Graph, Value};

pub(super) fn run(graph: &Graph) -> Graph {
    let mut live = vec![false; graph.nodes.len()];
    live[graph.output.index()] = true;
    for (value, node) in graph.iter().rev() {
        live[value.index()] |= matches!(node.op.effect(), Effect::Writes { .. });
        if live[value.index()] {
            node.op.operands(&mut |operand| live[operand.index()] = true);
        }
    }
    keep(graph, &live)
}

/// The nodes that are live, renumbered.
fn keep(graph: &Graph, live: &[bool]) -> Graph {
    let mut kept = Graph { nodes: Vec::new(), ..graph.clone() };
    let mut map = vec![Value(0); live.len()];
    for (value, node) in graph.iter().filter(|(value, _)| live[value.index()]) {
        let mut node = node.clone();
        node.op.map_operands(&mut |operand| map[operand.index()]);
        map[value.index()] = Value(kept.nodes.len() as u32);
        kept.nodes.push(node);
    }
    kept.output = map[graph.output.index()];
    kept
}
