//! Rows are gathered before what is made of each by itself, and not after: what follows the last attention is done for
//! those rows only whose logits are asked for, of a prompt for one or none.
//!
//! ```text
//! %2: f32[n, 64] = linear %1, @o: …      %2: f32[m, 64] = gather_rows %1
//! %3: f32[n, 64] = add %0, %2            %3: f32[m, 64] = linear %2, @o: …
//! %4: f32[m, 64] = gather_rows %3        %4: f32[m, 64] = gather_rows %0
//!                                        %5: f32[m, 64] = add %4, %3
//! ```

use tc_ir::{Dim, Graph, Node, Op, Value};

use super::rewrite::{Rewriter, rewrite};

pub(super) fn run(graph: &Graph) -> Graph {
    let few = of_few_rows(graph);
    let mut gathered: Vec<Option<Value>> = vec![None; graph.nodes.len()];
    let mut rows_of = |rewriter: &mut Rewriter, old: Value| {
        let new = rewriter.mapped(old);
        if few[old.index()] {
            return new;
        }
        *gathered[old.index()].get_or_insert_with(|| rewriter.push(Op::GatherRows { x: new }))
    };
    rewrite(graph, |rewriter, value, op| match op {
        Op::GatherRows { x } => Some(rows_of(rewriter, *x)),
        _ if few[value.index()] => {
            let mut op = op.clone();
            op.map_operands(&mut |old| rows_of(rewriter, old));
            Some(rewriter.push(op))
        }
        _ => None,
    })
}

/// Which values over tokens can be over rows: those made row by row that only such values read, and gathers.
fn of_few_rows(graph: &Graph) -> Vec<bool> {
    let over_tokens = |node: &Node| matches!(node.ty.as_activation(), Some((Dim::Tokens, _)));
    let mut few: Vec<bool> = graph.nodes.iter().map(|node| over_tokens(node) && row_by_row(&node.op)).collect();
    // Readers come after what they read, so each is settled before its operands are.
    for (value, node) in graph.iter().rev() {
        if !few[value.index()] && !matches!(node.op, Op::GatherRows { .. }) {
            node.op.operands(&mut |operand| few[operand.index()] = false);
        }
    }
    few
}

fn row_by_row(op: &Op) -> bool {
    matches!(
        op,
        Op::RmsNorm { .. } | Op::Linear { .. } | Op::Silu { .. } | Op::Mul { .. } | Op::Add { .. } | Op::Scale { .. }
    )
}
