//! A norm of which only the q8 rows are read writes q8 rows.
//!
//! ```text
//! %1: f32[n, 64] = rms_norm %0, @w: … {eps = 1e-5}     %1: q8[n, 64] = rms_norm_q8 %0, @w: … {eps = 1e-5}
//! %2: q8[n, 64] = quantize_q8 %1
//! ```

use tc_ir::{Graph, Op};

use super::rewrite::rewrite;

pub(super) fn run(graph: &Graph) -> Graph {
    let uses = graph.use_counts();
    rewrite(graph, |rewriter, _, op| match op {
        Op::QuantizeQ8 { x: norm, planes } if uses[norm.index()] == 1 => match graph.op(*norm) {
            Op::RmsNorm { x, w, eps, chunk: None } => {
                Some(rewriter.emit(Op::RmsNormQ8 { x: *x, w: w.clone(), eps: *eps, planes: *planes }))
            }
            _ => None,
        },
        _ => None,
    })
}
