//! What passes are written with: copy a graph node by node, putting other nodes in the place of some.

use tc_ir::{Builder, Graph, Op, Value};

use super::dce;

/// A copy under way. Operands are values of the old graph in [`Rewriter::emit`], of the new one in [`Rewriter::push`].
pub(super) struct Rewriter {
    new: Builder,
    /// The new value of each old node so far.
    map: Vec<Value>,
}

impl Rewriter {
    /// The new value of an old one.
    pub(super) fn mapped(&self, old: Value) -> Value {
        self.map[old.index()]
    }

    pub(super) fn emit(&mut self, mut op: Op) -> Value {
        op.map_operands(&mut |old| self.map[old.index()]);
        self.new.push(op)
    }

    pub(super) fn push(&mut self, op: Op) -> Value {
        self.new.push(op)
    }
}

/// Copies the graph. `replace` sees each old node in order: it emits what takes the node's place and returns its value,
/// or returns `None` to keep the node. What nobody uses afterwards is dropped.
pub(super) fn rewrite(graph: &Graph, mut replace: impl FnMut(&mut Rewriter, Value, &Op) -> Option<Value>) -> Graph {
    let mut rewriter = Rewriter { new: Builder::new(&graph.name, graph.bounds), map: Vec::new() };
    for (value, node) in graph.iter() {
        let new = replace(&mut rewriter, value, &node.op);
        let new = new.unwrap_or_else(|| rewriter.emit(node.op.clone()));
        rewriter.map.push(new);
    }
    let output = rewriter.mapped(graph.output);
    dce::run(&rewriter.new.finish_unverified(output))
}

/// The values that, side by side, are the columns of `parts`: slices that together are all of one value become that value.
///
/// `[%5[0..64], %5[64..96], %6]`, where `%5` has 96 columns, is `[%5, %6]`.
pub(super) fn join_slices(graph: &Graph, parts: &[Value]) -> Vec<Value> {
    let mut joined = Vec::new();
    let mut rest = parts;
    while let [first, after @ ..] = rest {
        let whole = (2..=rest.len()).find_map(|count| Some((whole(graph, &rest[..count])?, &rest[count..])));
        let (value, next) = whole.unwrap_or((*first, after));
        joined.push(value);
        rest = next;
    }
    joined
}

/// The value that has exactly the columns of these slices.
fn whole(graph: &Graph, slices: &[Value]) -> Option<Value> {
    let mut source = None;
    let mut column = 0;
    for slice in slices {
        let Op::SliceCols { x, begin, end } = *graph.op(*slice) else { return None };
        if begin != column || *source.get_or_insert(x) != x {
            return None;
        }
        column = end;
    }
    source.filter(|source| graph.width(*source) == column)
}
