//! `run_one`: a call of one token, phase by phase.

use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{Function, InstBuilder, SourceLoc, Value};
use cranelift_frontend::Variable;

use super::super::schedule::{ByHeads, Phase, Step, by_heads};
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
            let fused = next.and_then(|next| by_heads(source.lowered, source.ops, phase, next));
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
        let done = body.e.b.ins().iconst(I64, done as i64);
        body.e.b.ins().return_(&[done]);
    })
}

impl Body<'_, '_> {
    /// Waits for all before a phase.
    fn enter(&mut self, phase: &Phase, done: u64) {
        if let Some(first) = phase.steps.first().and_then(|step| step.chain.first()) {
            self.e.b.set_srcloc(SourceLoc::new(*first as u32));
        }
        if done > 0 {
            let before = self.e.b.ins().iconst(I64, done as i64);
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
        self.heads(fused, phases[0], share, step, end);
        self.e.b.ins().jump(join, &[]);
        self.e.b.switch_to_block(join);
    }

    /// The rows of some heads, then attention over them.
    fn heads(&mut self, fused: ByHeads, phase: &Phase, share: Value, step: u32, end: u64) {
        self.e.b.set_srcloc(SourceLoc::new(fused.linear as u32));
        let prepared = (!phase.prologue.is_empty()).then(|| self.e.flag());
        let kv_heads = fused.heads.kv_heads;
        let tasks = self.e.b.ins().iconst(I32, i64::from(kv_heads));
        let upto = self.e.b.ins().iconst(I64, end as i64);
        let each = i64::from(fused.tasks_each());
        self.hand_out(step, tasks, share, upto, each, |body, begin, end| {
            if let Some(prepared) = prepared {
                body.prologue(phase, prepared);
            }
            let (queries, keys) = fused.blocks();
            let behind = kv_heads * queries;
            for (base, blocks) in [(0, queries), (behind, keys), (behind + kv_heads * keys, keys)] {
                let [begin, end] = [begin, end].map(|head| {
                    let at = body.e.b.ins().imul_imm(head, i64::from(blocks));
                    body.e.b.ins().iadd_imm(at, i64::from(base))
                });
                body.kernel(fused.linear, body.source.state.one[fused.linear], begin, end);
            }
            for at in [fused.rope, fused.attention] {
                body.kernel(at, body.source.state.one[at], begin, end);
            }
        });
    }

    fn phase(&mut self, phase: &Phase, number: &mut u32, done: u64) {
        let prepared = (!phase.prologue.is_empty()).then(|| self.e.flag());
        for step in &phase.steps {
            let Step { chain, tasks } = step;
            let Some(first) = chain.first() else { continue };
            self.e.b.set_srcloc(SourceLoc::new(*first as u32));
            let portion = self.source.state.portions[&portion(step, self.source.program, self.source.ops)];
            let portion = self.e.load(I32, self.state, portion as usize);
            let tasks = self.e.b.ins().iconst(I32, i64::from(*tasks));
            let upto = self.e.b.ins().iconst(I64, done as i64);
            self.hand_out(*number, tasks, portion, upto, 1, |body, begin, end| {
                if let Some(prepared) = prepared {
                    body.prologue(phase, prepared);
                }
                for at in chain {
                    body.kernel(*at, body.source.state.one[*at], begin, end);
                }
            });
            *number += 1;
        }
    }

    /// What a thread computes for itself, once in a phase.
    fn prologue(&mut self, phase: &Phase, prepared: Variable) {
        let (compute, go_on) = (self.e.b.create_block(), self.e.b.create_block());
        let done = self.e.b.use_var(prepared);
        self.e.b.ins().brif(done, go_on, &[], compute, &[]);
        self.e.b.switch_to_block(compute);
        let (zero, one) = (self.e.b.ins().iconst(I32, 0), self.e.b.ins().iconst(I32, 1));
        for at in &phase.prologue {
            self.kernel(*at, self.source.state.one[*at], zero, one);
        }
        let done = self.e.b.ins().iconst(I8, 1);
        self.e.b.def_var(prepared, done);
        self.e.b.ins().jump(go_on, &[]);
        self.e.b.switch_to_block(go_on);
    }
}
