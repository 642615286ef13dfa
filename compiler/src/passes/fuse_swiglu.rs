//! `silu(gate) * up`, where gate and up are the halves of one row, is one op.
//!
//! ```text
//! %1: f32[n, 192] = linear …                              %1: f32[n, 192] = linear …
//! %2: f32[n, 96] = slice_cols %1 {begin = 0, end = 96}    %2: f32[n, 96] = swiglu %1
//! %3: f32[n, 96] = slice_cols %1 {begin = 96, end = 192}
//! %4: f32[n, 96] = silu %2
//! %5: f32[n, 96] = mul %4, %3
//! ```
//! Gate and up that did not merge keep their `silu` and `mul`, which are kernels too.

use tc_ir::{Graph, Op};

use super::merge_gate_up::gated;
use super::rewrite::{join_slices, rewrite};

pub(super) fn run(graph: &Graph) -> Graph {
    rewrite(graph, |rewriter, _, op| {
        let halves = gated(graph, op)?;
        match join_slices(graph, &halves)[..] {
            [x] => Some(rewriter.emit(Op::Swiglu { x })),
            _ => None,
        }
    })
}
