//! The text form; [`crate::parse()`] reads exactly this back.

use std::fmt;

use crate::graph::{Graph, Node, Value};
use crate::op::Op;

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.print())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} = {}", self.ty, self.op)
    }
}

impl Graph {
    /// A node as its line shows it: `%3: f32[n, 64] = silu %2`.
    pub fn line(&self, value: Value) -> String {
        format!("{value}: {}", self.nodes[value.index()])
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Graph { name, bounds, output, .. } = self;
        writeln!(f, "graph @{name}(n: tokens <= {}, m: rows <= {}) {{", bounds.tokens, bounds.rows)?;
        for (value, _) in self.iter() {
            writeln!(f, "  {}", self.line(value))?;
        }
        writeln!(f, "  output {output}\n}}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::graph::{Bounds, Graph, Node, Value};
    use crate::op::Op;
    use crate::types::{Dim, Dtype, Type};

    /// SplitMix64: one seed, one sequence.
    pub(crate) struct Rng(pub u64);

    impl Rng {
        pub(crate) fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        pub(crate) fn below(&mut self, bound: u32) -> u32 {
            (self.next() % u64::from(bound)) as u32
        }
    }

    fn random_graph(rng: &mut Rng) -> Graph {
        let node = |rng: &mut Rng| {
            let dtype = [Dtype::F32, Dtype::Q8][rng.below(2) as usize];
            let rows = [Dim::Tokens, Dim::Rows][rng.below(2) as usize];
            Node { op: Op::random(rng), ty: Type::activation(dtype, rows, rng.next() as u32) }
        };
        Graph {
            name: format!("g.{}", rng.below(100)),
            bounds: Bounds { tokens: rng.next() as u32, rows: rng.next() as u32 },
            nodes: (0..rng.below(40)).map(|_| node(rng)).collect(),
            output: Value(rng.next() as u32),
        }
    }

    #[test]
    fn every_graph_prints_and_parses_back() {
        for seed in 0..500 {
            let graph = random_graph(&mut Rng(seed));
            let text = graph.to_string();
            let back = crate::parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            assert_eq!(back, graph, "seed {seed}\n{text}");
            assert_eq!(back.to_string(), text);
        }
    }

    /// Any prefix of a graph's text is an error, not a panic.
    #[test]
    fn cut_texts_are_errors() {
        let text = random_graph(&mut Rng(7)).to_string();
        for end in 0..text.trim_end().len() {
            assert!(crate::parse(&text[..end]).is_err(), "cut at {end}");
        }
    }
}
