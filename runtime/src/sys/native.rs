use super::Memory;
use crate::exec::{Arena, Handout, Round, choose};
use crate::native::Native;
use crate::native::abi::{Context, Entry, Kernel, NONE, Worker};
use crate::{Error, Result};
use std::ffi::c_void;
use std::sync::Arc;
use tc_kernels::abi::Call;
use tc_kernels::table::Features;

/// A native artifact's code over one arena, for one team.
///
/// What makes running it sound: the artifact is trusted to do what `tcrt_model.h` says; the engine keeps the artifact and the
/// arena for longer than this; each thread of the team runs it with its own number; `Engine::forward` alone makes calls.
pub(crate) struct Bound {
    team: Box<Team>,
    /// `context.kernels` leads here.
    _kernels: Box<[Kernel]>,
    states: Memory,
    state_stride: usize,
    run: Entry,
    run_one: Entry,
}

/// The code gets a pointer to the context, from which `take`, `done` and `wait` find the rest.
#[repr(C)]
struct Team {
    context: Context,
    handout: Arc<Handout>,
}

// SAFETY: nothing but each thread's own state changes after `new`.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

impl Bound {
    pub fn new(
        native: &Native,
        memory: &Memory,
        arena: Arena,
        features: Features,
        handout: Arc<Handout>,
    ) -> Result<Bound> {
        let model = native.library().model();
        let (Some(prepare), Some(run)) = (model.prepare, model.run) else {
            return Err(Error::invalid_file("the descriptor has no functions"));
        };
        let kernel =
            |name: &String| choose(name, features).map(|chosen| Kernel { run: chosen.run, tasks: chosen.tasks });
        let kernels: Box<[Kernel]> = native.kernels.iter().map(kernel).collect::<Result<_>>()?;
        let threads = handout.threads();
        // Pages of its own keep a thread's writes off the others' cache lines.
        let state_stride = usize::try_from(model.state_size).ok().and_then(|size| size.checked_next_multiple_of(4096));
        let bytes = state_stride.and_then(|stride| stride.checked_mul(threads as usize));
        let (Some(state_stride), Some(bytes)) = (state_stride, bytes) else {
            return Err(Error::invalid_file(format!("state_size: {} bytes", model.state_size)));
        };
        let states = Memory::reserve(bytes).map_err(|error| error.in_place("state of the generated code"))?;
        let context = Context {
            kernels: kernels.as_ptr(),
            weights: native.weights().as_ptr(),
            tokens_arena: memory.as_ptr(),
            rows_arena: memory.as_ptr().wrapping_add(arena.rows_begin()),
            max_tokens: arena.tokens as u32,
            max_rows: arena.rows as u32,
            threads,
            _unused: 0,
            take,
            done,
            wait,
        };
        let team = Box::new(Team { context, handout });
        let run_one = model.run_one.unwrap_or(run);
        let bound = Bound { team, _kernels: kernels, states, state_stride, run, run_one };
        for thread in 0..threads {
            // SAFETY: the type's text; nobody runs anything yet.
            unsafe { prepare(bound.context(), bound.state(thread), thread) };
        }
        Ok(bound)
    }

    fn context(&self) -> *const Context {
        (&raw const *self.team).cast()
    }

    fn state(&self, thread: u32) -> *mut c_void {
        self.states.as_ptr().wrapping_add(self.state_stride * thread as usize).cast()
    }

    /// One thread's part of a call, which has so many tasks. With `hidden`, hidden states are left where the artifact says.
    pub fn run(&self, call: &Call, hidden: bool, thread: u32, round: &Round) -> u64 {
        let worker = Worker { state: self.state(thread), thread, _unused: 0, round: *round };
        let entry = if call.n == 1 && call.rows == 1 && !hidden { self.run_one } else { self.run };
        // SAFETY: the type's text.
        unsafe { entry(self.context(), &raw const worker, call) }
    }
}

/// # Safety
/// The code passes on the context it got, which begins a `Team`, and the worker it got.
unsafe fn of<'a>(context: *const Context, worker: *const Worker) -> (&'a Handout, &'a Round, u32) {
    // SAFETY: promised by the caller.
    unsafe { (&(*context.cast::<Team>()).handout, &(*worker).round, (*worker).thread) }
}

unsafe extern "C" fn take(context: *const Context, worker: *const Worker, step: u32, tasks: u32, portion: u32) -> u32 {
    // SAFETY: as `of` says.
    let (handout, round, thread) = unsafe { of(context, worker) };
    handout.take(round, thread, step as usize, tasks, portion).unwrap_or(NONE)
}

unsafe extern "C" fn done(context: *const Context, worker: *const Worker, tasks: u32, upto: u64) {
    // SAFETY: as `of` says.
    let (handout, round, thread) = unsafe { of(context, worker) };
    handout.done(round, thread, tasks, upto);
}

unsafe extern "C" fn wait(context: *const Context, worker: *const Worker, upto: u64) {
    // SAFETY: as `of` says.
    let (handout, round, thread) = unsafe { of(context, worker) };
    handout.wait(round, thread, upto);
}
