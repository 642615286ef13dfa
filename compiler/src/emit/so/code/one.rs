//! `run_one`: a call of one token, phase by phase.

use std::mem::offset_of;

use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{Function, InstBuilder, SourceLoc, Value};
use cranelift_frontend::Variable;
use tc_kernels::abi::Call;
use tc_kernels::table::in_parts;

use super::super::fuse::{ByHeads, by_heads};
use super::super::inline::{Piece, pieces};
use super::super::schedule::{Part, Phase, Span, Step};
use super::super::state::portion;
use super::body::Body;
use super::{Source, build};

pub fn function(source: &Source) -> Function {
    build(source.convention, &[I64, I64, I64], &[I64], |e| {
        let mut body = Body::new(e, source);
        let (mut done, mut number) = (0, 0);
        let mut rest = source.schedule.phases.as_slice();
        while let Some((phase, more)) = rest.split_first() {
            let next = more.first();
            let fused = next.and_then(|next| by_heads(source.lowered, source.ops, source.schedule, [phase, next]));
            body.enter(phase, done);
            match (fused, next, source.state.heads) {
                (Some(fused), Some(next), Some((_, share))) => {
                    body.either(fused, [phase, next], share, &mut number, &mut done);
                    rest = &more[1..];
                }
                _ => {
                    done += phase.tasks();
                    body.phase(phase, &mut number, done);
                    rest = more;
                }
            }
        }
        let done = body.count(done);
        body.e.b.ins().return_(&[done]);
    })
}

/// How a step's tasks are handed out.
struct Handing {
    number: u32,
    portion: Value,
    /// Tasks of the call up to and with this step.
    upto: u64,
    /// What each task counts when it is done.
    each: u32,
}

impl Body<'_, '_> {
    /// Waits for all before a phase.
    fn enter(&mut self, phase: &Phase, done: u64) {
        if let Some(first) = phase.steps.first().and_then(|step| step.chain.first()) {
            self.e.b.set_srcloc(SourceLoc::new(first.at as u32));
        }
        if done > 0 {
            let before = self.count(done);
            self.wait(before);
        }
    }

    /// Two phases, as one where the heads divide evenly among the threads. Either way they have the same tasks.
    fn either(&mut self, fused: ByHeads, phases: [&Phase; 2], share: u64, number: &mut u32, done: &mut u64) {
        let [one, two, join] = [(); 3].map(|()| self.e.b.create_block());
        let share = self.e.load(I32, self.state, share as usize);
        self.e.b.ins().brif(share, one, &[], two, &[]);
        let (step, end) = (*number, *done + phases.iter().map(|phase| phase.tasks()).sum::<u64>());
        self.e.b.switch_to_block(two);
        for (i, phase) in phases.into_iter().enumerate() {
            if i > 0 {
                self.enter(phase, *done);
            }
            *done += phase.tasks();
            self.phase(phase, number, *done);
        }
        self.e.b.ins().jump(join, &[]);
        self.e.b.switch_to_block(one);
        let prepared = self.prepared(phases[0]);
        let handing = Handing { number: step, portion: share, upto: end, each: fused.tasks_each };
        self.step(&fused.step, phases[0], prepared, handing);
        self.e.b.ins().jump(join, &[]);
        self.e.b.switch_to_block(join);
    }

    fn phase(&mut self, phase: &Phase, number: &mut u32, done: u64) {
        match phase.attends(self.source.ops) {
            Some(parts) => self.whole_or_cut(phase, parts, number, done),
            None => self.steps(phase, number, done),
        }
    }

    /// Rope and attention head by head, or, where the call says so, first the one and then the other by segments of the context.
    fn whole_or_cut(&mut self, phase: &Phase, [rope, attention]: [&Part; 2], number: &mut u32, done: u64) {
        let [whole, cut, join] = [(); 3].map(|()| self.e.b.create_block());
        let seen = self.e.load(I32, self.call, offset_of!(Call, seen));
        self.e.b.ins().brif(seen, cut, &[], whole, &[]);
        self.e.b.switch_to_block(cut);
        let one = self.e.b.ins().iconst(I32, 1);
        for step in &phase.steps {
            let rope = Step { chain: vec![rope.clone()], tasks: step.tasks };
            self.step(&rope, phase, None, Handing { number: *number, portion: one, upto: done, each: 1 });
        }
        self.segments(attention, *number + 1, done);
        self.e.b.ins().jump(join, &[]);
        self.e.b.switch_to_block(whole);
        self.steps(phase, number, done);
        *number += 1;
        self.e.b.ins().jump(join, &[]);
        self.e.b.switch_to_block(join);
    }

    /// Attention as a step of its own, after the first `done` tasks.
    fn segments(&mut self, part: &Part, number: u32, done: u64) {
        let Some(kernel) = in_parts(part.kernel) else { return };
        let before = self.count(done);
        self.wait(before);
        let args = self.source.state.one[part.at];
        let tasks = self.tasks(kernel, args);
        let (more, wide) = (self.e.b.use_var(self.more), self.e.b.ins().uextend(I64, tasks));
        let more = self.e.b.ins().iadd(more, wide);
        self.e.b.def_var(self.more, more);
        let (upto, one) = (self.count(done), self.e.b.ins().iconst(I32, 1));
        self.hand_out(number, tasks, one, upto, 1, |body, begin, end| body.kernel(part.at, kernel, args, begin, end));
    }

    fn steps(&mut self, phase: &Phase, number: &mut u32, done: u64) {
        let prepared = self.prepared(phase);
        for step in &phase.steps {
            let portion = self.source.state.portions[&portion(step, self.source.program, self.source.ops)];
            let portion = self.e.load(I32, self.state, portion as usize);
            self.step(step, phase, prepared, Handing { number: *number, portion, upto: done, each: 1 });
            *number += 1;
        }
    }

    /// Whether this thread has computed a phase's prologue, where there is one.
    fn prepared(&mut self, phase: &Phase) -> Option<Variable> {
        (!phase.prologue.is_empty()).then(|| self.e.zero(I8))
    }

    fn step(&mut self, step: &Step, phase: &Phase, prepared: Option<Variable>, handing: Handing) {
        let Some(first) = step.chain.first() else { return };
        self.e.b.set_srcloc(SourceLoc::new(first.at as u32));
        let Handing { number, portion, upto, each } = handing;
        let tasks = self.e.b.ins().iconst(I32, i64::from(step.tasks));
        let upto = self.count(upto);
        self.hand_out(number, tasks, portion, upto, i64::from(each), |body, begin, end| {
            if let Some(prepared) = prepared {
                body.prologue(phase, prepared);
            }
            for part in &step.chain {
                body.part(part, begin, end);
            }
        });
    }

    /// An instruction's share of tasks `begin .. end` of a step.
    fn part(&mut self, part: &Part, begin: Value, end: Value) {
        if let [Piece::Loop(inside)] = pieces(self.source.lowered, self.source.ops, &[part.at]).as_slice() {
            // Of one token, it has one row.
            return self.row(inside, &self.source.state.one);
        }
        for span in &part.spans {
            let [begin, end] = [begin, end].map(|task| self.within(*span, task));
            self.kernel(part.at, part.kernel, self.source.state.one[part.at], begin, end);
        }
    }

    fn within(&mut self, Span { first, each }: Span, task: Value) -> Value {
        let at = if each == 1 { task } else { self.e.b.ins().imul_imm(task, i64::from(each)) };
        if first == 0 { at } else { self.e.b.ins().iadd_imm(at, i64::from(first)) }
    }

    /// What a thread computes for itself, once in a phase.
    fn prologue(&mut self, phase: &Phase, prepared: Variable) {
        let (compute, go_on) = (self.e.b.create_block(), self.e.b.create_block());
        let done = self.e.b.use_var(prepared);
        self.e.b.ins().brif(done, go_on, &[], compute, &[]);
        self.e.b.switch_to_block(compute);
        let (zero, one) = (self.e.b.ins().iconst(I32, 0), self.e.b.ins().iconst(I32, 1));
        for piece in pieces(self.source.lowered, self.source.ops, &phase.prologue) {
            match piece {
                Piece::Kernel(at) => self.kernel(at, self.source.kernel(at), self.source.state.one[at], zero, one),
                Piece::Loop(inside) => self.row(&inside, &self.source.state.one),
            }
        }
        let done = self.e.b.ins().iconst(I8, 1);
        self.e.b.def_var(prepared, done);
        self.e.b.ins().jump(go_on, &[]);
        self.e.b.switch_to_block(go_on);
    }
}
