//! A linear adds its result to the residual itself.
//!
//! ```text
//! %1: f32[n, 64] = linear %0, @o: …             %1: f32[n, 64] = linear %0, @o: …, residual = %x {alpha = 0.5}
//! %2: f32[n, 64] = add %x, %1 {scale = 0.5}
//! ```

use tc_ir::{Graph, Op, Value};

use super::rewrite::rewrite;

pub(super) fn run(graph: &Graph) -> Graph {
    let uses = graph.use_counts();
    let fused = |linear: Value, to: Value, factor: f32| match graph.op(linear) {
        Op::Linear { x, w, bias, residual: None, alpha } if uses[linear.index()] == 1 => {
            let (w, bias) = (w.clone(), bias.clone());
            Some(Op::Linear { x: *x, w, bias, residual: Some(to), alpha: alpha * factor })
        }
        _ => None,
    };
    rewrite(graph, |rewriter, _, op| {
        let Op::Add { a, b, scale } = *op else { return None };
        let other_way = || if scale == 1.0 { fused(a, b, 1.0) } else { None };
        fused(b, a, scale).or_else(other_way).map(|op| rewriter.emit(op))
    })
}
