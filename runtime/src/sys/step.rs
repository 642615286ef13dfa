use std::ffi::c_void;
use std::ptr;
use tc_kernels::abi::{
    AttentionArgs, Call, ConcatArgs, ElementwiseArgs, EmbedArgs, GatherArgs, LinearArgs, NormArgs, Over, QuantizeArgs,
    RopeKvArgs, RopeTableArgs, Run, SwigluArgs, Tasks,
};
use tc_kernels::layout::{Kind, block_bytes};
use tc_kernels::table::{Chosen, PORTION_BYTES};

/// Groups of SwiGLU's columns that are worth a trip to the counter, as `PORTION_BYTES` of weights are.
const PORTION_GROUPS: u32 = 8;

/// A kernel's arguments, each pointer resolved.
pub(crate) enum Args {
    Embed(EmbedArgs),
    RopeTable(RopeTableArgs),
    Norm(NormArgs),
    Quantize(QuantizeArgs),
    Linear(LinearArgs),
    Swiglu(SwigluArgs),
    RopeKv(RopeKvArgs),
    Attention(AttentionArgs),
    Gather(GatherArgs),
    Concat(ConcatArgs),
    Elementwise(ElementwiseArgs),
}

impl Args {
    fn pointer(&self) -> *const c_void {
        match self {
            Args::Embed(args) => ptr::from_ref(args).cast(),
            Args::RopeTable(args) => ptr::from_ref(args).cast(),
            Args::Norm(args) => ptr::from_ref(args).cast(),
            Args::Quantize(args) => ptr::from_ref(args).cast(),
            Args::Linear(args) => ptr::from_ref(args).cast(),
            Args::Swiglu(args) => ptr::from_ref(args).cast(),
            Args::RopeKv(args) => ptr::from_ref(args).cast(),
            Args::Attention(args) => ptr::from_ref(args).cast(),
            Args::Gather(args) => ptr::from_ref(args).cast(),
            Args::Concat(args) => ptr::from_ref(args).cast(),
            Args::Elementwise(args) => ptr::from_ref(args).cast(),
        }
    }
}

/// One instruction, ready to run.
///
/// Two invariants make running it sound. `exec::bind` alone makes steps, and only from a verified program: the arguments are those of
/// the kernel, they point into the mapped weights and the arena, which the engine keeps for longer than its steps, and whatever
/// runs between two barriers touches disjoint bytes. `Engine::forward` alone makes calls, and checks every token, position and
/// table in them.
pub(crate) struct Step {
    run: Run,
    tasks: Tasks,
    args: Args,
    /// Of a matrix: bytes of weights that go with a task; else 0.
    task_bytes: usize,
    pub barrier: bool,
}

// SAFETY: a step is never changed; the memory it points to is shared as the type's text says.
unsafe impl Send for Step {}
// SAFETY: as above.
unsafe impl Sync for Step {}

impl Step {
    pub fn new(kernel: &Chosen, args: Args, barrier: bool) -> Step {
        let task_bytes = match &args {
            Args::Linear(args) => Kind::from_u32(args.w.kind)
                .map_or(0, |kind| block_bytes(kind, args.w.cols as usize, args.w.group as usize)),
            _ => 0,
        };
        Step { run: kernel.run, tasks: kernel.tasks, args, task_bytes, barrier }
    }

    /// Tasks that a thread should take at a time, at least: more tokens, or rows, make more of a task.
    pub fn least(&self, call: &Call) -> u32 {
        match &self.args {
            Args::Linear(args) => {
                let count = if args.over == Over::Rows as u32 { call.rows } else { call.n };
                PORTION_BYTES.checked_div(self.task_bytes * count as usize).map_or(1, |tasks| tasks as u32)
            }
            Args::Swiglu(_) => PORTION_GROUPS,
            _ => 1,
        }
    }

    pub fn tasks(&self, call: &Call) -> u32 {
        // SAFETY: the type's invariants; counting tasks reads the call's numbers and follows none of its pointers.
        unsafe { (self.tasks)(self.args.pointer(), call) }
    }

    /// Runs tasks `begin..end`; each task once, whichever thread takes it.
    pub fn run(&self, call: &Call, begin: u32, end: u32) {
        // SAFETY: the type's invariants; the table of kernels gave out only variants that this CPU has.
        unsafe { (self.run)(self.args.pointer(), call, begin, end) }
    }
}

/// A call that other threads may read.
#[derive(Clone, Copy)]
pub(crate) struct SharedCall(pub Call);

// SAFETY: the thread that made the call keeps what it points to unchanged until all tasks are done; who comes later finds no task, and
// reads nothing but the call's own numbers to learn that.
unsafe impl Send for SharedCall {}

#[cfg(test)]
mod tests {
    use super::*;
    use tc_kernels::abi::{KvType, Matrix};
    use tc_kernels::table::{Features, select};

    fn call(n: u32, rows: u32) -> Call {
        let (kv, tables) = (ptr::null_mut(), ptr::null());
        Call {
            n,
            rows,
            tokens: tables,
            positions: tables,
            sequences: tables,
            out_rows: tables,
            kv,
            kv_block_bytes: 0,
            tables,
            table_stride: 0,
            kv_dtype: KvType::F16 as u32,
            seen: 0,
            sums: ptr::null_mut(),
        }
    }

    #[test]
    fn a_task_is_worth_as_much_as_what_it_multiplies() {
        let w = Matrix { data: ptr::null(), rows: 320, cols: 256, kind: Kind::F32 as u32, group: 0 };
        let (none, x, y) = (ptr::null(), ptr::null(), ptr::null_mut());
        let least = |over: Over, n, rows| {
            let args = LinearArgs {
                w,
                x,
                bias: none,
                residual: none,
                y,
                x_stride: 1024,
                y_stride: 320,
                alpha: 1.0,
                over: over as u32,
            };
            let kernel = select("linear", Features::NONE).unwrap();
            Step::new(&kernel, Args::Linear(args), false).least(&call(n, rows))
        };
        // A block has 16 KB.
        assert_eq!([least(Over::Tokens, 1, 1), least(Over::Tokens, 2, 1)], [4, 2]);
        assert_eq!([least(Over::Rows, 512, 1), least(Over::Rows, 512, 2)], [4, 2]);
    }
}
