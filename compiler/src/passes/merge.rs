//! Linears that read the same rows become one, whose matrix has the rows of all; slices of its result take their places.

use std::collections::HashMap;

use tc_ir::{Graph, Op, Value, Weight};

use super::rewrite::{Rewriter, rewrite};

/// Merges each run of neighbours in `groups` that can be merged: same input, weight type, alpha, all or none with a bias.
/// Values that are no linears stay as they are.
pub(super) fn merge_linears(graph: &Graph, groups: &[Vec<Value>]) -> Graph {
    let runs: Vec<&[Value]> = groups
        .iter()
        .flat_map(|group| group.chunk_by(|a, b| mergeable(graph, *a, *b)))
        .filter(|run| run.len() > 1)
        .collect();
    let mut run_of: HashMap<Value, &[Value]> = HashMap::new();
    for run in runs {
        // A linear of two runs goes with the first; the other run stays apart.
        if run.iter().all(|value| !run_of.contains_key(value)) {
            run_of.extend(run.iter().map(|value| (*value, run)));
        }
    }
    let mut slices = HashMap::new();
    rewrite(graph, |rewriter, value, _| {
        let run = run_of.get(&value)?;
        if !slices.contains_key(&value) {
            slices.extend(run.iter().copied().zip(merge(graph, rewriter, run)));
        }
        slices.get(&value).copied()
    })
}

fn mergeable(graph: &Graph, a: Value, b: Value) -> bool {
    match (graph.op(a), graph.op(b)) {
        (
            Op::Linear { x: xa, w: wa, bias: bias_a, residual: None, alpha: alpha_a },
            Op::Linear { x: xb, w: wb, bias: bias_b, residual: None, alpha: alpha_b },
        ) => {
            let dtype = |w: &Weight| w.parts.first().map(|part| part.ty.dtype);
            a != b && xa == xb && dtype(wa) == dtype(wb) && bias_a.is_some() == bias_b.is_some() && alpha_a == alpha_b
        }
        _ => false,
    }
}

/// The merged linear, and the slices that stand for the members.
fn merge(graph: &Graph, rewriter: &mut Rewriter, members: &[Value]) -> Vec<Value> {
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    let mut merged = graph.op(members[0]).clone();
    for member in members {
        if let Op::Linear { w, bias, .. } = graph.op(*member) {
            weights.push(w);
            biases.extend(bias);
        }
    }
    if let Op::Linear { w, bias, .. } = &mut merged {
        *w = Weight::concat_rows(weights);
        *bias = bias.is_some().then(|| Weight::concat_rows(biases));
    }
    let x = rewriter.emit(merged);
    let mut begin = 0;
    let slice = |member: &Value| {
        let end = begin + graph.width(*member);
        let slice = rewriter.push(Op::SliceCols { x, begin, end });
        begin = end;
        slice
    };
    members.iter().map(slice).collect()
}
