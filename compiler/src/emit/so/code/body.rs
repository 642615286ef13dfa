//! What both functions that run the model are made of.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, SigRef, SourceLoc, Value};
use cranelift_frontend::Variable;
use tcrt::native::abi::{Context, Kernel, NONE, Worker};

use super::{Emitter, Source};

/// A function that runs the model.
pub struct Body<'a, 'b> {
    pub e: &'a mut Emitter<'b>,
    pub source: &'a Source<'a>,
    pub context: Value,
    worker: Value,
    pub call: Value,
    pub state: Value,
    kernels: Value,
    /// Tasks of this call beyond those that are known now.
    pub more: Variable,
    signatures: Signatures,
}

struct Signatures {
    run: SigRef,
    tasks: SigRef,
    take: SigRef,
    done: SigRef,
    wait: SigRef,
}

impl<'a, 'b> Body<'a, 'b> {
    pub fn new(e: &'a mut Emitter<'b>, source: &'a Source<'a>) -> Self {
        let (context, worker, call) = (e.parameters[0], e.parameters[1], e.parameters[2]);
        let state = e.load(I64, worker, offset_of!(Worker, state));
        let kernels = e.load(I64, context, offset_of!(Context, kernels));
        let signatures = Signatures {
            run: e.signature(&[I64, I64, I32, I32], &[]),
            tasks: e.signature(&[I64, I64], &[I32]),
            take: e.signature(&[I64, I64, I32, I32, I32], &[I32]),
            done: e.signature(&[I64, I64, I32, I64], &[]),
            wait: e.signature(&[I64, I64, I64], &[]),
        };
        let more = e.zero(I64);
        Body { e, source, context, worker, call, state, kernels, more, signatures }
    }

    /// Takes tasks and does them until none is left; each counts as `each` when it is done.
    pub fn hand_out(
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
        // Who took all tasks at once need not ask for more. The last task alone says nothing: the first ones of another's share may be left.
        let more = self.e.b.ins().icmp(IntCC::UnsignedLessThan, count, tasks);
        self.e.b.ins().brif(more, again, &[], none, &[]);
        self.e.b.switch_to_block(none);
    }

    /// Tasks of instruction `at`, by this kernel.
    pub fn kernel(&mut self, at: usize, kernel: &str, args: u64, begin: Value, end: Value) {
        self.e.b.set_srcloc(SourceLoc::new(at as u32));
        let run = self.function(kernel, offset_of!(Kernel, run));
        let args = self.e.b.ins().iadd_imm(self.state, args as i64);
        self.e.b.ins().call_indirect(self.signatures.run, run, &[args, self.call, begin, end]);
    }

    /// How many tasks this kernel has.
    pub fn tasks(&mut self, kernel: &str, args: u64) -> Value {
        let tasks = self.function(kernel, offset_of!(Kernel, tasks));
        let args = self.e.b.ins().iadd_imm(self.state, args as i64);
        let counted = self.e.b.ins().call_indirect(self.signatures.tasks, tasks, &[args, self.call]);
        self.e.b.inst_results(counted)[0]
    }

    fn function(&mut self, kernel: &str, offset: usize) -> Value {
        let index = self.source.kernels.iter().position(|name| *name == kernel).unwrap_or_default();
        self.e.load(I64, self.kernels, index * size_of::<Kernel>() + offset)
    }

    /// So many tasks, and those that were not known before.
    pub fn count(&mut self, known: u64) -> Value {
        let more = self.e.b.use_var(self.more);
        self.e.b.ins().iadd_imm(more, known as i64)
    }

    pub fn wait(&mut self, upto: Value) {
        let wait = self.e.load(I64, self.context, offset_of!(Context, wait));
        self.e.b.ins().call_indirect(self.signatures.wait, wait, &[self.context, self.worker, upto]);
    }
}
