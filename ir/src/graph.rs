//! The graph: an SSA list of nodes.

use std::fmt;

use crate::op::Op;
use crate::types::{Dim, Type};

/// A node's result, and so the node: its place in the list. Prints as `%3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u32);

impl Value {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: Op,
    pub ty: Type,
}

/// The largest values of the symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of `n`.
    pub tokens: u32,
    /// Of `m`.
    pub rows: u32,
}

/// See the crate's text. Operands come before their users; [`crate::verify`] checks it.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub name: String,
    pub bounds: Bounds,
    pub nodes: Vec<Node>,
    pub output: Value,
}

impl Graph {
    /// The op that defines a value of this graph.
    pub fn op(&self, value: Value) -> &Op {
        &self.nodes[value.index()].op
    }

    pub fn ty(&self, value: Value) -> &Type {
        &self.nodes[value.index()].ty
    }

    /// Columns of a value.
    pub fn width(&self, value: Value) -> u32 {
        match self.ty(value).shape.last() {
            Some(Dim::Const(cols)) => *cols,
            _ => 0,
        }
    }

    /// Every node with its value, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Value, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (Value(index as u32), node))
    }

    /// How many operands each value is, the output counting as one.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.nodes.len()];
        let mut count = |value: Value| {
            if let Some(count) = counts.get_mut(value.index()) {
                *count += 1;
            }
        };
        self.nodes.iter().for_each(|node| node.op.operands(&mut count));
        count(self.output);
        counts
    }
}
