//! The functions of an artifact in Cranelift's IR: the schedule itself, with every shape, offset and scalar a constant.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Function, InstBuilder, MemFlags, SigRef, Signature, SourceLoc, UserFuncName, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use tc_kernels::abi::{BLOCK_ROWS, Call, Over};
use tcrt::native::abi::{Context, Kernel, NONE, Worker};
use tcrt::program::Program;
use tcrt::program::verify::Op;

use super::args::{Base, Image};
use super::schedule::{ByHeads, Phase, Schedule, Step, by_heads};
use super::state::{Portion, State, portion};

/// What the functions are made from.
pub struct Source<'a> {
    pub program: &'a Program,
    pub lowered: &'a crate::program::Program,
    pub ops: &'a [Op],
    pub schedule: &'a Schedule,
    pub state: &'a State,
    pub convention: CallConv,
}

/// A function with its name.
pub type Named = (&'static str, Function);

/// In the descriptor's order.
pub fn functions(source: &Source) -> [Named; 3] {
    [("prepare", prepare(source)), ("run", run(source)), ("run_one", run_one(source))]
}

/// Portions of a step for each thread: so many that one slow thread does not hold the rest for long.
const MAX_TURNS: i64 = 4;

/// Memory that is there and aligned.
const TRUSTED: MemFlags = MemFlags::trusted();

struct Emitter<'a> {
    b: FunctionBuilder<'a>,
    parameters: Vec<Value>,
    convention: CallConv,
}

/// Builds a function from its parameters.
fn function(
    convention: CallConv,
    parameters: &[cranelift_codegen::ir::Type],
    results: &[cranelift_codegen::ir::Type],
    build: impl FnOnce(&mut Emitter),
) -> Function {
    let mut function =
        Function::with_name_signature(UserFuncName::default(), signature(convention, parameters, results));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let parameters = b.block_params(entry).to_vec();
    let mut emitter = Emitter { b, parameters, convention };
    build(&mut emitter);
    emitter.b.seal_all_blocks();
    emitter.b.finalize();
    function
}

fn signature(
    convention: CallConv,
    parameters: &[cranelift_codegen::ir::Type],
    results: &[cranelift_codegen::ir::Type],
) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.extend(parameters.iter().map(|kind| AbiParam::new(*kind)));
    signature.returns.extend(results.iter().map(|kind| AbiParam::new(*kind)));
    signature
}

/// Fills in a thread's state.
fn prepare(source: &Source) -> Function {
    function(source.convention, &[I64, I64, I32], &[], |e| {
        let (context, state) = (e.parameters[0], e.parameters[1]);
        let threads = e.load(I32, context, offset_of!(Context, threads));
        for (portion, at) in &source.state.portions {
            e.prepare_portion(state, threads, *portion, *at);
        }
        if let Some((heads, at)) = source.state.heads {
            e.prepare_share(state, threads, heads, at);
        }
        let bases = Bases {
            weights: e.load(I64, context, offset_of!(Context, weights)),
            tokens: e.load(I64, context, offset_of!(Context, tokens_arena)),
            rows: e.load(I64, context, offset_of!(Context, rows_arena)),
            max_tokens: e.load_wide(context, offset_of!(Context, max_tokens)),
            max_rows: e.load_wide(context, offset_of!(Context, max_rows)),
            state,
        };
        for (image, at) in &source.state.images {
            e.prepare_image(&bases, image, *at);
        }
        e.b.ins().return_(&[]);
    })
}

struct Bases {
    weights: Value,
    tokens: Value,
    rows: Value,
    max_tokens: Value,
    max_rows: Value,
    state: Value,
}

/// A call of many tokens, instruction by instruction.
fn run(source: &Source) -> Function {
    function(source.convention, &[I64, I64, I64], &[I64], |e| {
        let mut body = Body::new(e, source);
        let call = body.call;
        let n = body.e.load(I32, call, offset_of!(Call, n));
        let rows = body.e.load(I32, call, offset_of!(Call, rows));
        let threads = body.e.load(I32, body.context, offset_of!(Context, threads));
        let mut done = body.e.b.ins().iconst(I64, 0);
        for (at, instruction) in source.program.instructions.iter().enumerate() {
            body.e.b.set_srcloc(SourceLoc::new(at as u32));
            if instruction.barrier {
                body.wait(done);
            }
            let tasks = body.e.tasks(&source.ops[at], &source.program.weights, n, rows);
            let wide = body.e.b.ins().uextend(I64, tasks);
            done = body.e.b.ins().iadd(done, wide);
            let portion = body.e.grain(tasks, threads);
            let args = source.state.many[at];
            body.hand_out(at as u32, tasks, portion, done, 1, |body, begin, end| body.kernel(at, args, begin, end));
        }
        body.e.b.ins().return_(&[done]);
    })
}

/// A call of one token, phase by phase.
fn run_one(source: &Source) -> Function {
    function(source.convention, &[I64, I64, I64], &[I64], |e| {
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

/// A function that runs the model.
struct Body<'a, 'b> {
    e: &'a mut Emitter<'b>,
    source: &'a Source<'a>,
    context: Value,
    worker: Value,
    call: Value,
    state: Value,
    kernels: Value,
    signatures: Signatures,
}

struct Signatures {
    run: SigRef,
    take: SigRef,
    done: SigRef,
    wait: SigRef,
}

impl<'a, 'b> Body<'a, 'b> {
    fn new(e: &'a mut Emitter<'b>, source: &'a Source<'a>) -> Self {
        let (context, worker, call) = (e.parameters[0], e.parameters[1], e.parameters[2]);
        let state = e.load(I64, worker, offset_of!(Worker, state));
        let kernels = e.load(I64, context, offset_of!(Context, kernels));
        let signatures = Signatures {
            run: e.signature(&[I64, I64, I32, I32], &[]),
            take: e.signature(&[I64, I64, I32, I32, I32], &[I32]),
            done: e.signature(&[I64, I64, I32, I64], &[]),
            wait: e.signature(&[I64, I64, I64], &[]),
        };
        Body { e, source, context, worker, call, state, kernels, signatures }
    }

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

    /// Takes tasks and does them until none is left; each counts as `each` when it is done.
    fn hand_out(
        &mut self,
        step: u32,
        tasks: Value,
        portion: Value,
        upto: Value,
        each: i64,
        work: impl FnOnce(&mut Self, Value, Value),
    ) {
        let (again, some, none) = (self.e.b.create_block(), self.e.b.create_block(), self.e.b.create_block());
        self.e.b.ins().jump(again, &[]);
        self.e.b.switch_to_block(again);
        let step = self.e.b.ins().iconst(I32, i64::from(step));
        let take = self.e.load(I64, self.context, offset_of!(Context, take));
        let arguments = [self.context, self.worker, step, tasks, portion];
        let taken = self.e.b.ins().call_indirect(self.signatures.take, take, &arguments);
        let begin = self.e.b.inst_results(taken)[0];
        let over = self.e.b.ins().icmp_imm(IntCC::Equal, begin, i64::from(NONE as i32));
        self.e.b.ins().brif(over, none, &[], some, &[]);
        self.e.b.switch_to_block(some);
        let rest = self.e.b.ins().isub(tasks, begin);
        let count = self.e.b.ins().umin(rest, portion);
        let end = self.e.b.ins().iadd(begin, count);
        work(self, begin, end);
        let counted = if each == 1 { count } else { self.e.b.ins().imul_imm(count, each) };
        let done = self.e.load(I64, self.context, offset_of!(Context, done));
        self.e.b.ins().call_indirect(self.signatures.done, done, &[self.context, self.worker, counted, upto]);
        // Who took the last task need not ask for more.
        let more = self.e.b.ins().icmp(IntCC::UnsignedLessThan, end, tasks);
        self.e.b.ins().brif(more, again, &[], none, &[]);
        self.e.b.switch_to_block(none);
    }

    fn kernel(&mut self, at: usize, args: u64, begin: Value, end: Value) {
        self.e.b.set_srcloc(SourceLoc::new(at as u32));
        let index = usize::from(self.source.program.instructions[at].kernel);
        let run = self.e.load(I64, self.kernels, index * size_of::<Kernel>() + offset_of!(Kernel, run));
        let args = self.e.b.ins().iadd_imm(self.state, args as i64);
        self.e.b.ins().call_indirect(self.signatures.run, run, &[args, self.call, begin, end]);
    }

    fn wait(&mut self, upto: Value) {
        let wait = self.e.load(I64, self.context, offset_of!(Context, wait));
        self.e.b.ins().call_indirect(self.signatures.wait, wait, &[self.context, self.worker, upto]);
    }
}

impl Emitter<'_> {
    fn signature(
        &mut self,
        parameters: &[cranelift_codegen::ir::Type],
        results: &[cranelift_codegen::ir::Type],
    ) -> SigRef {
        let signature = signature(self.convention, parameters, results);
        self.b.import_signature(signature)
    }

    fn load(&mut self, kind: cranelift_codegen::ir::Type, base: Value, offset: usize) -> Value {
        self.b.ins().load(kind, TRUSTED, base, offset as i32)
    }

    fn load_wide(&mut self, base: Value, offset: usize) -> Value {
        let value = self.load(I32, base, offset);
        self.b.ins().uextend(I64, value)
    }

    fn flag(&mut self) -> Variable {
        let flag = self.b.declare_var(I8);
        let no = self.b.ins().iconst(I8, 0);
        self.b.def_var(flag, no);
        flag
    }

    /// `ceil(tasks / (threads * turns))`: equal portions, as many for each thread as are worth their trips to the counter.
    fn prepare_portion(&mut self, state: Value, threads: Value, portion: Portion, at: u64) {
        let tasks = self.b.ins().iconst(I32, i64::from(portion.tasks));
        let each = self.b.ins().udiv(tasks, threads);
        let least = self.b.ins().iconst(I32, i64::from(portion.least));
        let turns = self.b.ins().udiv(each, least);
        let (one, most) = (self.b.ins().iconst(I32, 1), self.b.ins().iconst(I32, MAX_TURNS));
        let turns = self.b.ins().umax(turns, one);
        let turns = self.b.ins().umin(turns, most);
        let portions = self.b.ins().imul(threads, turns);
        let value = self.divide_up(tasks, portions);
        let value = self.alone_or(threads, tasks, value);
        self.b.ins().store(TRUSTED, value, state, at as i32);
    }

    fn prepare_share(&mut self, state: Value, threads: Value, heads: u32, at: u64) {
        let heads = self.b.ins().iconst(I32, i64::from(heads));
        let (share, rest) = (self.b.ins().udiv(heads, threads), self.b.ins().urem(heads, threads));
        let none = self.b.ins().iconst(I32, 0);
        let share = self.b.ins().select(rest, none, share);
        self.b.ins().store(TRUSTED, share, state, at as i32);
    }

    fn divide_up(&mut self, value: Value, by: Value) -> Value {
        let sum = self.b.ins().iadd(value, by);
        let sum = self.b.ins().iadd_imm(sum, -1);
        self.b.ins().udiv(sum, by)
    }

    /// A thread alone takes all tasks at once.
    fn alone_or(&mut self, threads: Value, tasks: Value, portion: Value) -> Value {
        let alone = self.b.ins().icmp_imm(IntCC::Equal, threads, 1);
        self.b.ins().select(alone, tasks, portion)
    }

    /// As `tc_kernels::table::grain`.
    fn grain(&mut self, tasks: Value, threads: Value) -> Value {
        let eight = self.b.ins().ishl_imm(threads, 3);
        let portion = self.b.ins().udiv(tasks, eight);
        let one = self.b.ins().iconst(I32, 1);
        let portion = self.b.ins().umax(portion, one);
        self.alone_or(threads, tasks, portion)
    }

    fn tasks(&mut self, op: &Op, weights: &[tcrt::program::Weight], n: Value, rows: Value) -> Value {
        let count = |over: Over| if over == Over::Rows { rows } else { n };
        match op {
            Op::Norm { over, .. } | Op::Quantize { over, .. } | Op::Elementwise { over, .. } => count(*over),
            Op::Gather { .. } => rows,
            Op::Linear { w, over, .. } => {
                let blocks = weights[*w].rows.div_ceil(BLOCK_ROWS as u32);
                let (blocks, zero) = (self.b.ins().iconst(I32, i64::from(blocks)), self.b.ins().iconst(I32, 0));
                self.b.ins().select(count(*over), blocks, zero)
            }
            Op::RopeKv { heads, .. } | Op::Attention { heads, .. } => {
                self.b.ins().imul_imm(n, i64::from(heads.kv_heads))
            }
            Op::Embed { .. } | Op::RopeTable { .. } | Op::Swiglu { .. } | Op::Concat { .. } => n,
        }
    }

    fn prepare_image(&mut self, bases: &Bases, image: &Image, at: u64) {
        for (word, bytes) in image.bytes.as_chunks::<8>().0.iter().enumerate() {
            let offset = 8 * word;
            let value = match image.pointers.iter().find(|(at, _)| *at == offset) {
                Some((_, address)) => self.address(bases, *address),
                // The state begins with zeros.
                None if *bytes == [0; 8] => continue,
                None => self.b.ins().iconst(I64, i64::from_le_bytes(*bytes)),
            };
            self.b.ins().store(TRUSTED, value, bases.state, at as i32 + offset as i32);
        }
    }

    fn address(&mut self, bases: &Bases, (base, offset): (Base, u64)) -> Value {
        let offset = offset as i64;
        match base {
            Base::Weights => self.b.ins().iadd_imm(bases.weights, offset),
            Base::State => self.b.ins().iadd_imm(bases.state, offset),
            Base::Tokens => {
                let offset = self.b.ins().imul_imm(bases.max_tokens, offset);
                self.b.ins().iadd(bases.tokens, offset)
            }
            Base::Rows => {
                let offset = self.b.ins().imul_imm(bases.max_rows, offset);
                self.b.ins().iadd(bases.rows, offset)
            }
        }
    }
}
