//! Linears of quantized weights read rows in 8 bits, or in two planes of them. `cse` then quantizes each row once.
//!
//! ```text
//! %1: f32[n, 8] = linear %0, @w: i4g32[8, 64]     %1: q8[n, 64] = quantize_q8 %0
//!                                                 %2: f32[n, 8] = linear_q8 %1, @w: i4g32[8, 64]
//! ```

use tc_ir::{Graph, Op};

use super::rewrite::rewrite;

pub(super) fn run<const PLANES: u32>(graph: &Graph) -> Graph {
    rewrite(graph, |rewriter, _, op| match op {
        Op::Linear { x, w, bias, residual, alpha } if w.ty().is_ok_and(|ty| ty.dtype.is_quantized_weight()) => {
            let x = rewriter.emit(Op::QuantizeQ8 { x: *x, planes: PLANES });
            let residual = residual.map(|residual| rewriter.mapped(residual));
            Some(rewriter.push(Op::LinearQ8 { x, w: w.clone(), bias: bias.clone(), residual, alpha: *alpha }))
        }
        _ => None,
    })
}
