//! Computes equal things once: above all the quantization of a row that several linears read.
//!
//! ```text
//! %1: q8[n, 64] = quantize_q8 %0      %1: q8[n, 64] = quantize_q8 %0
//! %2: f32[n, 8] = linear_q8 %1, …     %2: f32[n, 8] = linear_q8 %1, …
//! %3: q8[n, 64] = quantize_q8 %0      %3: f32[n, 8] = linear_q8 %1, …
//! %4: f32[n, 8] = linear_q8 %3, …
//! ```

use std::collections::HashMap;

use tc_ir::{Graph, Op};

use super::rewrite::rewrite;

pub(super) fn run(graph: &Graph) -> Graph {
    let mut known = HashMap::new();
    rewrite(graph, |rewriter, _, op| {
        if !op.is_pure() {
            return None;
        }
        let mut op: Op = op.clone();
        op.map_operands(&mut |old| rewriter.mapped(old));
        // The text of an op over new values is all there is to it.
        Some(*known.entry(op.to_string()).or_insert_with(|| rewriter.push(op)))
    })
}
