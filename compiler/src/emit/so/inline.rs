//! Elementwise instructions, which become loops of vectors in the code itself. Neighbours that work on rows of the same width are one
//! loop, in which a value that nobody else reads is never stored:
//!
//! ```text
//! %5 = silu %3        for each row, 16 columns at a time:
//! %6 = mul %5, %4         y6 = silu(x3) * x4
//! ```

use tcrt::program::verify::Op;

use crate::lower::barriers::{Access, Place, accesses};
use crate::program::{Buffer, Operand, Program};

/// What runs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Kernel(usize),
    Loop(Loop),
}

impl Piece {
    pub fn first(&self) -> usize {
        match self {
            Piece::Kernel(at) => *at,
            Piece::Loop(inside) => inside.instructions[0],
        }
    }
}

/// Instructions, at least one, in order, and the buffers of those whose results are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    pub instructions: Vec<usize>,
    pub stored: Vec<usize>,
}

pub fn is_inline(op: &Op) -> bool {
    matches!(op, Op::Elementwise { .. })
}

/// Cuts a list of instructions, which follow each other, in pieces.
pub fn pieces(program: &Program, ops: &[Op], list: &[usize]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for at in list.iter().copied() {
        match pieces.last_mut() {
            Some(Piece::Loop(open)) if joins(program, ops, &open.instructions, at) => open.instructions.push(at),
            _ if is_inline(&ops[at]) => {
                pieces.push(Piece::Loop(Loop { instructions: vec![at], stored: Vec::new() }));
            }
            _ => pieces.push(Piece::Kernel(at)),
        }
    }
    for piece in &mut pieces {
        if let Piece::Loop(open) = piece {
            open.stored = stored(program, ops, &open.instructions);
        }
    }
    pieces
}

/// What a piece reads and writes.
pub fn touches(program: &Program, ops: &[Op], piece: &Piece) -> Vec<Access> {
    match piece {
        Piece::Kernel(at) => accesses(program, &program.instructions[*at]),
        Piece::Loop(inside) => {
            let hidden: Vec<usize> = inside.instructions.iter().filter_map(|at| result(&ops[*at])).collect();
            let hidden = hidden.iter().filter(|buffer| !inside.stored.contains(buffer));
            let hidden: Vec<Place> = hidden.map(|buffer| place(&program.buffers[*buffer])).collect();
            let all = inside.instructions.iter().flat_map(|at| accesses(program, &program.instructions[*at]));
            all.filter(|access| !hidden.contains(&access.place)).collect()
        }
    }
}

fn place(buffer: &Buffer) -> Place {
    Place::Arena { over_rows: buffer.over_rows, bytes: buffer.range() }
}

/// The buffers that an elementwise instruction reads, and the one that it writes.
pub fn operands(op: &Op) -> Option<(Vec<usize>, usize)> {
    match op {
        Op::Elementwise { a, b, y, .. } => Some((std::iter::once(*a).chain(*b).collect(), *y)),
        _ => None,
    }
}

fn result(op: &Op) -> Option<usize> {
    operands(op).map(|(_, y)| y)
}

/// Whether an instruction may do each column right after those before it: it works on equal rows, and where it shares memory with
/// what they touch, the same columns lie in the same places.
fn joins(program: &Program, ops: &[Op], before: &[usize], at: usize) -> bool {
    let shape = |at: usize| match ops[at] {
        Op::Elementwise { dim, over, .. } => Some((dim, over)),
        _ => None,
    };
    let buffers = |at: usize| {
        operands(&ops[at]).map_or(Vec::new(), |(mut reads, y)| {
            reads.push(y);
            reads
        })
    };
    let apart_or_equal = |a: usize, b: usize| {
        let (a, b) = (&program.buffers[a], &program.buffers[b]);
        let (x, y) = (a.range(), b.range());
        a.over_rows != b.over_rows || x == y || x.end <= y.start || y.end <= x.start
    };
    shape(at).is_some()
        && before.iter().all(|earlier| {
            let pairs = |a: usize| buffers(*earlier).into_iter().all(|b| apart_or_equal(a, b));
            shape(*earlier) == shape(at) && buffers(at).into_iter().all(pairs)
        })
}

/// Results that something outside reads.
fn stored(program: &Program, ops: &[Op], inside: &[usize]) -> Vec<usize> {
    let read_outside = |buffer: usize| {
        let outside = program.instructions.iter().enumerate().filter(|(at, _)| !inside.contains(at));
        let mut operands = outside.flat_map(|(_, instruction)| &instruction.operands);
        buffer == program.logits as usize || operands.any(|operand| *operand == Operand::Buffer(buffer as u32))
    };
    inside.iter().filter_map(|at| result(&ops[*at])).filter(|buffer| read_outside(*buffer)).collect()
}
