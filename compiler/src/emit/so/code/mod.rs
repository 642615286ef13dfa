//! The functions of an artifact in Cranelift's IR: the schedule itself, with every shape, offset and scalar a constant.

mod body;
mod loops;
mod many;
mod one;
mod prepare;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, MemFlags, SigRef, Signature, Type, UserFuncName, Value};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use tcrt::program::Program;
use tcrt::program::verify::Op;

use super::schedule::Schedule;
use super::state::State;

/// What the functions are made from.
pub struct Source<'a> {
    pub program: &'a Program,
    pub lowered: &'a crate::program::Program,
    pub ops: &'a [Op],
    pub schedule: &'a Schedule,
    pub state: &'a State,
    /// By name, in the order of the table that libtcrt gives.
    pub kernels: &'a [&'static str],
    pub convention: CallConv,
}

impl Source<'_> {
    /// The kernel of an instruction.
    fn kernel(&self, at: usize) -> &'static str {
        self.lowered.instructions[at].kernel.name
    }
}

/// A function with its name.
pub type Named = (&'static str, Function);

/// In the descriptor's order.
pub fn functions(source: &Source) -> [Named; 3] {
    [("prepare", prepare::function(source)), ("run", many::function(source)), ("run_one", one::function(source))]
}

/// Memory that is there and aligned.
const TRUSTED: MemFlags = MemFlags::trusted();

struct Emitter<'a> {
    b: FunctionBuilder<'a>,
    parameters: Vec<Value>,
    convention: CallConv,
}

/// Builds a function from its parameters.
fn build(convention: CallConv, parameters: &[Type], results: &[Type], write: impl FnOnce(&mut Emitter)) -> Function {
    let mut function =
        Function::with_name_signature(UserFuncName::default(), signature(convention, parameters, results));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let parameters = b.block_params(entry).to_vec();
    let mut emitter = Emitter { b, parameters, convention };
    write(&mut emitter);
    emitter.b.seal_all_blocks();
    emitter.b.finalize();
    function
}

fn signature(convention: CallConv, parameters: &[Type], results: &[Type]) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.extend(parameters.iter().map(|kind| AbiParam::new(*kind)));
    signature.returns.extend(results.iter().map(|kind| AbiParam::new(*kind)));
    signature
}

impl Emitter<'_> {
    fn signature(&mut self, parameters: &[Type], results: &[Type]) -> SigRef {
        let signature = signature(self.convention, parameters, results);
        self.b.import_signature(signature)
    }

    fn load(&mut self, kind: Type, base: Value, offset: usize) -> Value {
        self.b.ins().load(kind, TRUSTED, base, offset as i32)
    }

    fn load_wide(&mut self, base: Value, offset: usize) -> Value {
        let value = self.load(I32, base, offset);
        self.b.ins().uextend(I64, value)
    }

    /// What may change from 0, or from no.
    fn zero(&mut self, kind: Type) -> Variable {
        let variable = self.b.declare_var(kind);
        let zero = self.b.ins().iconst(kind, 0);
        self.b.def_var(variable, zero);
        variable
    }

    /// A thread alone takes all tasks at once.
    fn alone_or(&mut self, threads: Value, tasks: Value, portion: Value) -> Value {
        let alone = self.b.ins().icmp_imm(IntCC::Equal, threads, 1);
        self.b.ins().select(alone, tasks, portion)
    }
}
