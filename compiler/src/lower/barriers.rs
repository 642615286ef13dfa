//! Barriers: threads may be in different instructions, so they wait for each other before an instruction that touches bytes
//! another one since the last barrier has touched, where either writes them. The latest place that works is taken each
//! time, which gives the fewest barriers.

use std::ops::Range;

use tc_kernels::signature::Cache;

use crate::program::{Instruction, Program};

/// Memory that an instruction touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the arena of tokens or of rows.
    Arena { over_rows: bool, bytes: Range<u64> },
    /// A layer of the KV cache.
    Layer(i64),
    /// Where attention over a context that is cut keeps its segments' sums.
    Segments,
}

#[derive(Clone, Debug)]
pub struct Access {
    pub place: Place,
    pub writes: bool,
}

impl Access {
    pub fn conflicts(&self, other: &Access) -> bool {
        let same = match (&self.place, &other.place) {
            (Place::Layer(a), Place::Layer(b)) => a == b,
            (Place::Segments, Place::Segments) => true,
            (Place::Arena { over_rows: a, bytes: x }, Place::Arena { over_rows: b, bytes: y }) => {
                a == b && x.start < y.end && y.start < x.end
            }
            _ => false,
        };
        same && (self.writes || other.writes)
    }
}

pub fn accesses(program: &Program, instruction: &Instruction) -> Vec<Access> {
    let buffers = instruction.buffers().filter_map(|(index, writes)| {
        let buffer = program.buffers.get(index as usize)?;
        Some(Access { place: Place::Arena { over_rows: buffer.over_rows, bytes: buffer.range() }, writes })
    });
    let cache = match instruction.kernel.cache {
        Cache::None => None,
        cache => instruction.layer().map(|layer| Access { place: Place::Layer(layer), writes: cache == Cache::Writes }),
    };
    let attends = instruction.kernel.cache == Cache::Reads;
    let segments = attends.then_some(Access { place: Place::Segments, writes: true });
    buffers.chain(cache).chain(segments).collect()
}

pub fn place(program: &mut Program) {
    let all: Vec<Vec<Access>> = program.instructions.iter().map(|instruction| accesses(program, instruction)).collect();
    for (instruction, barrier) in program.instructions.iter_mut().zip(needed(&all)) {
        instruction.barrier = barrier;
    }
}

/// Which of these, run in this order, need a barrier before them.
pub fn needed(all: &[Vec<Access>]) -> Vec<bool> {
    let mut since_barrier = 0;
    let mut barrier = |at: usize| {
        let conflict =
            all[since_barrier..at].iter().flatten().any(|before| all[at].iter().any(|a| a.conflicts(before)));
        if conflict {
            since_barrier = at;
        }
        conflict
    };
    (0..all.len()).map(&mut barrier).collect()
}
