//! Constant factors (Granite's multipliers) go into the ops that have a place for one.
//!
//! ```text
//! %0: f32[n, 8] = embed @t: …                 %0: f32[n, 8] = embed @t: … {scale = 12.0}
//! %1: f32[n, 8] = scale %0 {factor = 12.0}    %1: f32[n, 8] = linear %0, @w: …
//! %2: f32[n, 8] = linear %1, @w: …            %2: f32[n, 8] = add %0, %1 {scale = 0.5}
//! %3: f32[n, 8] = scale %2 {factor = 0.5}
//! %4: f32[n, 8] = add %1, %3
//! ```

use tc_ir::{Graph, Op, Value};

use super::rewrite::rewrite;

pub(super) fn run(graph: &Graph) -> Graph {
    let uses = graph.use_counts();
    rewrite(graph, |rewriter, _, op| match *op {
        Op::Scale { x, factor } => {
            let (base, inner) = unscaled(graph, &uses, x);
            let factor = factor * inner;
            // Of a base with other uses a second, scaled copy would cost more than the `scale` it saves.
            let folded = if uses[base.index()] == 1 { scaled(graph.op(base), factor) } else { None };
            match folded {
                _ if factor == 1.0 => Some(rewriter.mapped(base)),
                Some(op) => Some(rewriter.emit(op)),
                None => Some(rewriter.emit(Op::Scale { x: base, factor })),
            }
        }
        Op::Add { a, b, scale } => {
            let (a, b) = match (graph.op(a), graph.op(b)) {
                (Op::Scale { .. }, other) if scale == 1.0 && !matches!(other, Op::Scale { .. }) => (b, a),
                _ => (a, b),
            };
            let (b, factor) = unscaled(graph, &uses, b);
            Some(rewriter.emit(Op::Add { a, b, scale: scale * factor }))
        }
        _ => None,
    })
}

/// The value under a chain of scales that nobody else uses, and their product.
fn unscaled(graph: &Graph, uses: &[u32], mut value: Value) -> (Value, f32) {
    let mut product = 1.0;
    while let (Op::Scale { x, factor }, 1) = (graph.op(value), uses[value.index()]) {
        (value, product) = (*x, product * factor);
    }
    (value, product)
}

/// The op that gives `factor` times as much.
fn scaled(op: &Op, factor: f32) -> Option<Op> {
    let mut op = op.clone();
    match &mut op {
        Op::Embed { scale, .. } => *scale *= factor,
        Op::Linear { alpha, residual: None, .. } => *alpha *= factor,
        _ => return None,
    }
    Some(op)
}
