//! The schedule of a call with one token. Knowing the shapes, it needs half the barriers of the general one: what is computed
//! from one row by one task (a norm, an activation, quantization) every thread computes for itself into memory of its own, as
//! soon as it has taken a task that needs it; attention follows rope head by head, and SwiGLU its matmul column by column.

use std::collections::BTreeSet;

use tc_kernels::abi::BLOCK_ROWS;
use tcrt::program::verify::Op;

use super::fuse::by_columns;
use crate::lower::barriers::{Access, Place, accesses};
use crate::program::{Operand, Program, Weight};

/// Between two phases, all threads wait for the first one's tasks.
#[derive(Debug, Default)]
pub struct Phase {
    /// Instructions that every thread with a task runs for itself, before its first one.
    pub prologue: Vec<usize>,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    /// Whoever takes a task does it in all of these, in order.
    pub chain: Vec<Part>,
    pub tasks: u32,
}

/// An instruction in a chain.
#[derive(Clone, Debug)]
pub struct Part {
    pub at: usize,
    /// What runs it: its own kernel, one that does the same for one token alone, or one that cuts the same work in other tasks.
    pub kernel: &'static str,
    pub spans: Vec<Span>,
}

/// The kernel's tasks `first + a * each .. first + b * each` belong to tasks `a .. b` of the step.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub first: u32,
    pub each: u32,
}

impl Part {
    /// An instruction whose tasks are those of the step.
    pub fn whole(program: &Program, at: usize) -> Part {
        Part::of(program, at, vec![Span { first: 0, each: 1 }])
    }

    pub fn of(program: &Program, at: usize, spans: Vec<Span>) -> Part {
        let kernel = program.instructions[at].kernel.name;
        Part { at, kernel: if kernel == "linear_q8" { "linear_q8_one" } else { kernel }, spans }
    }
}

impl Phase {
    /// Rope and attention, where these are all of it: a context may be cut between them.
    pub fn attends(&self, ops: &[Op]) -> Option<[&Part; 2]> {
        let (true, [step]) = (self.prologue.is_empty(), self.steps.as_slice()) else { return None };
        let [rope, attention] = step.chain.as_slice() else { return None };
        match (&ops[rope.at], &ops[attention.at]) {
            (Op::RopeKv { .. }, Op::Attention { .. }) => Some([rope, attention]),
            _ => None,
        }
    }

    pub fn tasks(&self) -> u64 {
        self.steps.iter().map(|step| u64::from(step.tasks)).sum()
    }
}

/// What an instruction does with its operands, and the instruction whose value is private to a thread, where it is.
pub type Source = Option<usize>;

#[derive(Debug)]
pub struct Schedule {
    pub phases: Vec<Phase>,
    /// For each instruction and each operand, the private instruction that made it (or makes it: of a private one's result, itself).
    pub private: Vec<Vec<Source>>,
}

impl Schedule {
    /// What an instruction touches that other threads see.
    pub fn shared_accesses(&self, program: &Program, at: usize) -> Vec<Access> {
        let mut without = program.instructions[at].clone();
        for (operand, source) in without.operands.iter_mut().zip(&self.private[at]) {
            if source.is_some() {
                *operand = Operand::None;
            }
        }
        accesses(program, &without)
    }
}

/// Tasks of an instruction for one token and one row.
pub fn tasks(op: &Op, weights: &[Weight]) -> u32 {
    match op {
        Op::Linear { w, .. } => weights[*w].rows.div_ceil(BLOCK_ROWS as u32),
        Op::RopeKv { heads, .. } | Op::Attention { heads, .. } => heads.kv_heads,
        _ => 1,
    }
}

pub fn one_token(program: &Program, ops: &[Op]) -> Schedule {
    let mut shared = BTreeSet::new();
    loop {
        match Planner::new(program, ops, &shared).plan() {
            Ok(schedule) => return schedule,
            // Every round shares one more, so this ends.
            Err(Unfit(instruction)) => drop(shared.insert(instruction)),
        }
    }
}

/// An instruction that cannot be private: more than one phase reads it, or what it reads changes before.
struct Unfit(usize);

struct Planner<'a> {
    program: &'a Program,
    ops: &'a [Op],
    shared: &'a BTreeSet<usize>,
    /// For each buffer, the private instruction whose value it would hold.
    holder: Vec<Source>,
    /// For each private instruction that has run, the phase.
    ran_in: Vec<Option<usize>>,
    /// What the current phase touches: of each step, and `None` for the prologue.
    touched: Vec<(Option<usize>, Access)>,
    schedule: Schedule,
}

impl<'a> Planner<'a> {
    fn new(program: &'a Program, ops: &'a [Op], shared: &'a BTreeSet<usize>) -> Self {
        let schedule = Schedule { phases: vec![Phase::default()], private: Vec::new() };
        let (holder, ran_in) = (vec![None; program.buffers.len()], vec![None; ops.len()]);
        Self { program, ops, shared, holder, ran_in, touched: Vec::new(), schedule }
    }

    fn plan(mut self) -> Result<Schedule, Unfit> {
        for at in 0..self.ops.len() {
            let sources = self.sources(at);
            if let Some(step) = self.follows_by_columns(at, &sources) {
                self.check_inputs_of_private(at)?;
                self.schedule.private.push(sources);
                self.replace_last_step(at, step);
                self.hold(at, None);
            } else if self.may_be_private(at) {
                self.hold(at, Some(at));
                self.schedule.private.push(self.sources_with_result(at, sources));
            } else {
                self.check_inputs_of_private(at)?;
                self.schedule.private.push(sources);
                self.add(at)?;
                self.hold(at, None);
            }
        }
        Ok(self.schedule)
    }

    fn may_be_private(&self, at: usize) -> bool {
        let op = &self.ops[at];
        // Every layer reads the angles: one thread computes them, while another embeds the token.
        let once = matches!(op, Op::Embed { .. } | Op::RopeTable { .. });
        let logits = self.written(at).any(|buffer| buffer == self.program.logits);
        tasks(op, &self.program.weights) == 1
            && !once
            && !logits
            && !self.shared.contains(&at)
            && !matches!(op, Op::Linear { .. } | Op::RopeKv { .. } | Op::Attention { .. })
    }

    fn written(&self, at: usize) -> impl Iterator<Item = u32> {
        self.program.instructions[at].buffers().filter(|(_, writes)| *writes).map(|(buffer, _)| buffer)
    }

    fn hold(&mut self, at: usize, by: Source) {
        let written: Vec<u32> = self.written(at).collect();
        written.into_iter().for_each(|buffer| self.holder[buffer as usize] = by);
    }

    /// Which private instruction each operand that is read comes from.
    fn sources(&self, at: usize) -> Vec<Source> {
        let instruction = &self.program.instructions[at];
        let operands = instruction.operands.iter().zip(instruction.kernel.operands);
        operands
            .map(|(operand, takes)| match operand {
                Operand::Buffer(buffer) if !takes.output => self.holder[*buffer as usize],
                _ => None,
            })
            .collect()
    }

    fn sources_with_result(&self, at: usize, mut sources: Vec<Source>) -> Vec<Source> {
        let outputs = self.program.instructions[at].kernel.operands.iter().map(|operand| operand.output);
        for (source, output) in sources.iter_mut().zip(outputs) {
            if output {
                *source = Some(at);
            }
        }
        sources
    }

    fn shared_accesses(&self, at: usize) -> Vec<Access> {
        self.schedule.shared_accesses(self.program, at)
    }

    /// Private instructions that are yet to run must find their inputs as they are now.
    fn check_inputs_of_private(&self, at: usize) -> Result<(), Unfit> {
        let writes: Vec<Access> =
            accesses(self.program, &self.program.instructions[at]).into_iter().filter(|access| access.writes).collect();
        let mut waiting = self.holder.iter().flatten().filter(|private| self.ran_in[**private].is_none());
        let spoilt = waiting.find(|private| {
            let reads = self.shared_accesses(**private);
            reads.iter().any(|read| writes.iter().any(|write| write.conflicts(read)))
        });
        spoilt.map_or(Ok(()), |private| Err(Unfit(*private)))
    }

    /// The private instructions that one needs, in order.
    fn needs(&self, at: usize) -> Vec<usize> {
        let mut needs = BTreeSet::new();
        let mut open: Vec<usize> = vec![at];
        while let Some(at) = open.pop() {
            let sources = self.schedule.private[at].iter().flatten().filter(|source| **source != at);
            open.extend(sources.filter(|source| needs.insert(**source)));
        }
        needs.into_iter().collect()
    }

    fn add(&mut self, at: usize) -> Result<(), Unfit> {
        let needs = self.needs(at);
        let own = self.shared_accesses(at);
        let missing = |planner: &Self| -> Result<Vec<usize>, Unfit> {
            let now = planner.schedule.phases.len() - 1;
            match needs.iter().find(|private| planner.ran_in[**private].is_some_and(|phase| phase != now)) {
                Some(private) => Err(Unfit(*private)),
                None => Ok(needs.iter().copied().filter(|private| planner.ran_in[*private].is_none()).collect()),
            }
        };
        if self.follows_by_heads(at, &own) {
            self.touch(own);
            return self.extend_last_step(at);
        }
        let prologue_reads = |planner: &Self, missing: &[usize]| -> Vec<Access> {
            missing.iter().flat_map(|private| planner.shared_accesses(*private)).collect()
        };
        let reads = prologue_reads(self, &missing(self)?);
        if own.iter().chain(&reads).any(|access| self.touched.iter().any(|(_, before)| before.conflicts(access))) {
            self.schedule.phases.push(Phase::default());
            self.touched.clear();
        }
        let missing = missing(self)?;
        let reads = prologue_reads(self, &missing);
        let now = self.schedule.phases.len() - 1;
        missing.iter().for_each(|private| self.ran_in[*private] = Some(now));
        let tasks = tasks(&self.ops[at], &self.program.weights);
        let phase = &mut self.schedule.phases[now];
        phase.prologue.extend(missing);
        phase.steps.push(Step { chain: vec![Part::whole(self.program, at)], tasks });
        self.touched.extend(reads.into_iter().map(|access| (None, access)));
        self.touch(own);
        Ok(())
    }

    fn touch(&mut self, accesses: Vec<Access>) {
        let step = self.schedule.phases.last().map(|phase| phase.steps.len());
        self.touched.extend(accesses.into_iter().map(|access| (step, access)));
    }

    /// SwiGLU of what the last step makes, column by column, so that a thread may go on with its own columns.
    fn follows_by_columns(&self, at: usize, sources: &[Source]) -> Option<Step> {
        let step = self.schedule.phases.last()?.steps.last()?;
        let [Part { at: linear, .. }] = step.chain.as_slice() else { return None };
        let fused = by_columns(self.program, self.ops, *linear, at)?;
        let all_shared = sources.iter().all(Option::is_none);
        // But for the columns, nothing that a thread does in this phase may meet what another one does.
        let columns = fused.columns;
        let apart = |access: &Access| {
            let of_others = |label: &Option<usize>| access.place != columns || *label != Some(self.last_step());
            self.touched.iter().all(|(label, before)| !(of_others(label) && before.conflicts(access)))
        };
        let own = accesses(self.program, &self.program.instructions[at]);
        (all_shared && own.iter().all(apart)).then_some(fused.step)
    }

    fn replace_last_step(&mut self, at: usize, step: Step) {
        self.touch(accesses(self.program, &self.program.instructions[at]));
        if let Some(last) = self.schedule.phases.last_mut().and_then(|phase| phase.steps.last_mut()) {
            *last = step;
        }
    }

    fn extend_last_step(&mut self, at: usize) -> Result<(), Unfit> {
        let step = self.schedule.phases.last_mut().and_then(|phase| phase.steps.last_mut());
        step.map_or(Err(Unfit(at)), |step| {
            step.chain.push(Part::whole(self.program, at));
            Ok(())
        })
    }

    /// Attention over the cache that the last step writes: a task of either touches one KV head and its queries, so that a thread may
    /// go on to the other without waiting for anybody.
    fn follows_by_heads(&self, at: usize, own: &[Access]) -> bool {
        let last = self.schedule.phases.last().and_then(|phase| phase.steps.last());
        let Some([Part { at: rope, .. }]) = last.map(|step| step.chain.as_slice()) else { return false };
        let (Op::RopeKv { q: written, heads, .. }, Op::Attention { q, heads: same, .. }) =
            (&self.ops[*rope], &self.ops[at])
        else {
            return false;
        };
        if heads != same || q != written {
            return false;
        }
        // By heads, both touch the queries and the layer of the cache; apart from these, they must have nothing in common.
        let by_heads: Vec<Access> = self.program.instructions[*rope].layer().into_iter().map(layer).collect();
        let queries = self.program.buffers[*q].range();
        let divided = |access: &Access| {
            by_heads.iter().any(|layer| layer.place == access.place)
                || matches!(&access.place, Place::Arena { over_rows: false, bytes } if *bytes == queries)
        };
        let others = own.iter().filter(|access| !divided(access));
        let mut conflicts =
            others.flat_map(|access| self.touched.iter().filter(|(_, before)| before.conflicts(access)));
        conflicts.next().is_none()
            && self
                .touched
                .iter()
                .filter(|(step, _)| *step != Some(self.last_step()))
                .all(|(_, before)| own.iter().all(|access| !access.conflicts(before)))
    }

    fn last_step(&self) -> usize {
        self.schedule.phases.last().map_or(0, |phase| phase.steps.len())
    }
}

fn layer(layer: i64) -> Access {
    Access { place: Place::Layer(layer), writes: true }
}
