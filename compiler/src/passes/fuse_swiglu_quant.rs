//! A swiglu of which only the q8 rows are read writes q8 rows.
//!
//! ```text
//! %1: f32[n, 96] = swiglu %0         %1: q8[n, 96] = swiglu_q8 %0
//! %2: q8[n, 96] = quantize_q8 %1
//! ```

use tc_ir::{Graph, Op};

use super::rewrite::rewrite;

pub(super) fn run(graph: &Graph) -> Graph {
    let uses = graph.use_counts();
    rewrite(graph, |rewriter, _, op| match *op {
        Op::QuantizeQ8 { x: swiglu, planes } if uses[swiglu.index()] == 1 => match *graph.op(swiglu) {
            Op::Swiglu { x } => Some(rewriter.emit(Op::SwigluQ8 { x, planes })),
            _ => None,
        },
        _ => None,
    })
}
