//! A thread's own memory: how many tasks it takes at a time, every kernel's arguments, and room for what it computes for itself.

use std::collections::BTreeMap;

use tc_kernels::layout::block_bytes;
use tc_kernels::table::PORTION_BYTES;
use tcrt::program::verify::Op;
use tcrt::program::{Program, Weight, WeightKind};

use super::args::{Address, Arguments, Base, Image, shared_place};
use super::schedule::{Schedule, Step};
use crate::program::Operand;

/// Heads that are worth a trip to the counter, as `PORTION_BYTES` of weights are.
const PORTION_HEADS: u32 = 3;

/// How many of a step's tasks to take at a time depends on the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Portion {
    pub tasks: u32,
    /// Fewer are not worth it, but that each thread gets some.
    pub least: u32,
}

#[derive(Debug)]
pub struct State {
    /// With their places.
    pub portions: BTreeMap<Portion, u64>,
    /// How many KV heads a thread gets where all get equally many, else zero: their number, and the place.
    pub heads: Option<(u32, u64)>,
    /// The same arguments are there once.
    pub images: BTreeMap<Image, u64>,
    /// For each instruction, its arguments in calls of many tokens and in calls of one.
    pub many: Vec<u64>,
    pub one: Vec<u64>,
    pub size: u64,
}

pub fn layout(program: &Program, source: &crate::program::Program, ops: &[Op], schedule: &Schedule) -> State {
    let mut state = State {
        portions: BTreeMap::new(),
        heads: None,
        images: BTreeMap::new(),
        many: Vec::new(),
        one: Vec::new(),
        size: 0,
    };
    let steps = schedule.phases.iter().flat_map(|phase| &phase.steps);
    steps.for_each(|step| state.add_portion(portion(step, program, ops)));
    if let Some(heads) = ops.iter().find_map(kv_heads) {
        state.heads = Some((heads, state.take(4)));
    }
    let begin = state.size.next_multiple_of(64);
    let (scratch, end) = scratch(program, source, schedule, begin);
    state.size = end;
    for (at, op) in ops.iter().enumerate() {
        let many = Arguments { program, place: |buffer, _| shared_place(program, buffer) }.image(op);
        let place = |buffer, out| one_place(program, source, schedule, &scratch, at, buffer, out);
        let one = Arguments { program, place }.image(op);
        let (many, one) = (state.add_image(many), state.add_image(one));
        state.many.push(many);
        state.one.push(one);
    }
    state
}

fn kv_heads(op: &Op) -> Option<u32> {
    match op {
        Op::Attention { heads, .. } => Some(heads.kv_heads),
        _ => None,
    }
}

impl State {
    fn take(&mut self, size: u64) -> u64 {
        let at = self.size;
        self.size += size;
        at
    }

    fn add_portion(&mut self, portion: Portion) {
        if !self.portions.contains_key(&portion) {
            let at = self.take(4);
            self.portions.insert(portion, at);
        }
    }

    fn add_image(&mut self, image: Image) -> u64 {
        if let Some(at) = self.images.get(&image) {
            return *at;
        }
        let at = self.take(image.bytes.len() as u64);
        self.images.insert(image, at);
        at
    }
}

pub fn portion(step: &Step, program: &Program, ops: &[Op]) -> Portion {
    let task_bytes = |op: &Op| match op {
        Op::Linear { w, .. } => match &program.weights[*w] {
            Weight { kind: WeightKind::Matrix(kind), cols, group, .. } => {
                Some(block_bytes(*kind, *cols as usize, *group as usize))
            }
            _ => None,
        },
        _ => None,
    };
    // Each span is a stream of its own, which should not be a short one.
    let bytes = step.chain.first().and_then(|part| {
        let blocks = part.spans.iter().map(|span| span.each).max()?;
        Some(task_bytes(&ops[part.at])? * blocks as usize)
    });
    let least = bytes.map_or(PORTION_HEADS, |bytes| (PORTION_BYTES / bytes.max(1)).max(1) as u32);
    Portion { tasks: step.tasks, least }
}

/// For each private instruction the place of its result in the state, and where the last one ends. Phases use the same memory, one
/// after another.
fn scratch(
    program: &Program,
    source: &crate::program::Program,
    schedule: &Schedule,
    begin: u64,
) -> (BTreeMap<usize, u64>, u64) {
    let (mut places, mut most) = (BTreeMap::new(), begin);
    for phase in &schedule.phases {
        let mut end = begin;
        for at in &phase.prologue {
            places.insert(*at, end);
            let written = source.instructions[*at].buffers().filter(|(_, writes)| *writes);
            end += written.map(|(buffer, _)| u64::from(program.buffers[buffer as usize].stride)).sum::<u64>();
        }
        most = most.max(end);
    }
    (places, most)
}

/// Where a buffer lies for an instruction of a call with one token.
fn one_place(
    program: &Program,
    source: &crate::program::Program,
    schedule: &Schedule,
    scratch: &BTreeMap<usize, u64>,
    at: usize,
    buffer: usize,
    out: bool,
) -> Address {
    let instruction = &source.instructions[at];
    let operands = instruction.operands.iter().zip(instruction.kernel.operands).zip(&schedule.private[at]);
    let private = operands
        .filter(|((operand, takes), _)| **operand == Operand::Buffer(buffer as u32) && takes.output == out)
        .find_map(|(_, private)| *private);
    match private.and_then(|private| scratch.get(&private)) {
        Some(offset) => (Base::State, *offset),
        None => shared_place(program, buffer),
    }
}
