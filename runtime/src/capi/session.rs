use super::handle::{self, Behind};
use super::log::{TCRT_LOG_INFO, log};
use super::memory::{Buffer, Out, list};
use super::model::tcrt_model;
use super::status::tcrt_status::{TCRT_BUSY, TCRT_INVALID_ARGUMENT};
use super::status::{Outcome, call, fail, tcrt_status};
use super::versioned::{Results, read, versioned};
use crate::{EngineOptions, Generation, KvType, Model, Session};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// One sequence of tokens over a model.
pub struct tcrt_session {
    _private: (),
}

pub struct SessionCell {
    state: Mutex<State>,
    /// Ends the call that holds the lock.
    pub cancel: Arc<AtomicBool>,
}

pub struct State {
    pub session: Session,
    pub last: Option<Generation>,
}

impl Behind for SessionCell {
    type Handle = tcrt_session;
    const NAME: &'static str = "session";
}

impl SessionCell {
    fn new(session: Session) -> SessionCell {
        SessionCell { state: Mutex::new(State { session, last: None }), cancel: Arc::default() }
    }

    pub fn lock(&self) -> Outcome<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::WouldBlock) => fail(TCRT_BUSY, "another call is using the session"),
            // A panic inside the engine is remembered there; here it broke nothing.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        }
    }

    /// For calls that can be cancelled: what was cancelled before does not count.
    pub fn begin(&self) -> Outcome<MutexGuard<'_, State>> {
        let state = self.lock()?;
        self.cancel.store(false, Ordering::Relaxed);
        Ok(state)
    }
}

/// Keys and values in f16.
pub const TCRT_KV_F16: u32 = 0;
/// Keys and values in f32: twice the memory.
pub const TCRT_KV_F32: u32 = 1;
/// Keys and values in 8 bits with a scale for each head and position: half the memory, and long contexts are faster.
pub const TCRT_KV_I8: u32 = 2;

/// Options of a session. Set `size` and `version`; zero everywhere else is the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_session_options {
    pub size: u32,
    pub version: u32,
    /// Threads to run on; 0: as many as there are processors.
    pub threads: u32,
    /// Tokens of a prompt that are run at once; 0: 512.
    pub chunk: u32,
    /// Tokens that the session can hold; 0: what the model was made for, but at most 8192.
    pub context: u32,
    /// How many sessions there may be at once of this one and its forks; 0: 1, so none can be forked.
    pub max_sequences: u32,
    /// TCRT_KV_F16, TCRT_KV_F32 or TCRT_KV_I8.
    pub kv_type: u32,
    pub reserved: u32,
}

versioned!(tcrt_session_options, "tcrt_session_options", 32);

/// A session's size. Set `size` and `version` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tcrt_session_info {
    pub size: u32,
    pub version: u32,
    pub threads: u32,
    pub chunk: u32,
    /// Tokens that the session can hold, and those it holds.
    pub context: u64,
    pub tokens: u64,
    /// The model's weights: mapped from its file, shared by all sessions and processes.
    pub weight_bytes: u64,
    /// Values between the layers; as the following, shared with the session's forks.
    pub arena_bytes: u64,
    /// Keys and values now, and at most.
    pub kv_bytes: u64,
    pub kv_max_bytes: u64,
    /// What tcrt_session_save would write now.
    pub state_bytes: u64,
}

versioned!(tcrt_session_info, "tcrt_session_info", 72);

/// Makes a session. `options` may be NULL. The model's handle may be freed before the session. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_new(
    model: *mut tcrt_model,
    options: *const tcrt_session_options,
    session: *mut *mut tcrt_session,
) -> tcrt_status {
    call("tcrt_session_new", || {
        // SAFETY: this function's contract, as the header states it.
        let (options, out) = unsafe { (read(options)?, Out::new("session", session)?) };
        let model = handle::get::<Arc<Model>>(model)?;
        let made = Session::new(Arc::clone(&model), &engine_options(&options)?)?;
        let (threads, plan) = (made.threads()?, made.memory_plan()?);
        log(TCRT_LOG_INFO, &format!("{}: a session of {} tokens on {threads} threads", model.name(), plan.context));
        out.write(handle::new(SessionCell::new(made)));
        Ok(())
    })
}

fn engine_options(options: &tcrt_session_options) -> Outcome<EngineOptions> {
    let default = EngineOptions::default();
    let or = |value: u32, default: usize| if value == 0 { default } else { value as usize };
    let kv_dtype = match options.kv_type {
        TCRT_KV_F16 => KvType::F16,
        TCRT_KV_F32 => KvType::F32,
        TCRT_KV_I8 => KvType::I8,
        other => return fail(TCRT_INVALID_ARGUMENT, format!("kv_type is {other}")),
    };
    if options.reserved != 0 {
        return fail(TCRT_INVALID_ARGUMENT, "reserved must be 0");
    }
    Ok(EngineOptions {
        threads: options.threads as usize,
        chunk: or(options.chunk, default.chunk),
        context: options.context as usize,
        max_sequences: or(options.max_sequences, default.max_sequences),
        kv_dtype,
        ..default
    })
}

/// Frees a session; NULL is fine. A call that another thread has begun on it ends as it would, and memory goes when it returns.
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_session_free(session: *mut tcrt_session) -> tcrt_status {
    call("tcrt_session_free", || handle::free::<SessionCell>(session))
}

/// A session with the same tokens, that goes its own way from here. The two share the past in memory and the threads they run on, so
/// calls on them take turns; `max_sequences` says how many there may be. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_fork(session: *mut tcrt_session, fork: *mut *mut tcrt_session) -> tcrt_status {
    call("tcrt_session_fork", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Out::new("fork", fork)? };
        let made = handle::get::<SessionCell>(session)?.lock()?.session.fork()?;
        out.write(handle::new(SessionCell::new(made)));
        Ok(())
    })
}

/// Appends tokens to the session and runs the model on them. One call at a time for each session: TCRT_BUSY otherwise.
/// tcrt_session_cancel ends it with TCRT_CANCELLED; tokens whose chunk was done stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_prefill(
    session: *mut tcrt_session,
    tokens: *const u32,
    count: usize,
) -> tcrt_status {
    call("tcrt_session_prefill", || {
        // SAFETY: this function's contract, as the header states it.
        let tokens = unsafe { list("tokens", tokens, count)? };
        let cell = handle::get::<SessionCell>(session)?;
        Ok(cell.begin()?.session.prefill_unless(tokens, &cell.cancel)?)
    })
}

/// Appends one token and runs the model on it. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_session_decode(session: *mut tcrt_session, token: u32) -> tcrt_status {
    call("tcrt_session_decode", || {
        handle::get::<SessionCell>(session)?.lock()?.session.decode(token)?;
        Ok(())
    })
}

/// The logits after the last token, one for each token of the vocabulary. There are none before the first token was run, and none after
/// a rewind or a restore. Buffers are as for tcrt_tokenize. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_logits(
    session: *mut tcrt_session,
    logits: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> tcrt_status {
    call("tcrt_session_logits", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Buffer::new(logits, capacity, count)? };
        out.fill(handle::get::<SessionCell>(session)?.lock()?.session.last_logits()?)
    })
}

/// The tokens that the session holds. Buffers are as for tcrt_tokenize. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_tokens(
    session: *mut tcrt_session,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> tcrt_status {
    call("tcrt_session_tokens", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Buffer::new(tokens, capacity, count)? };
        out.fill(handle::get::<SessionCell>(session)?.lock()?.session.tokens())
    })
}

/// Forgets the tokens from number `length` on. One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_session_rewind(session: *mut tcrt_session, length: usize) -> tcrt_status {
    call("tcrt_session_rewind", || Ok(handle::get::<SessionCell>(session)?.lock()?.session.rewind(length)?))
}

/// Ends the session's prefill or generate that is under way, before it runs its next tokens; does nothing where there is none.
/// Thread-safe; it never waits.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_session_cancel(session: *mut tcrt_session) -> tcrt_status {
    call("tcrt_session_cancel", || {
        handle::get::<SessionCell>(session)?.cancel.store(true, Ordering::Relaxed);
        Ok(())
    })
}

/// One call at a time for each session: TCRT_BUSY otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcrt_session_get_info(
    session: *mut tcrt_session,
    info: *mut tcrt_session_info,
) -> tcrt_status {
    call("tcrt_session_get_info", || {
        // SAFETY: this function's contract, as the header states it.
        let out = unsafe { Results::new(info)? };
        let cell = handle::get::<SessionCell>(session)?;
        let session = &cell.lock()?.session;
        let plan = session.memory_plan()?;
        out.write(&tcrt_session_info {
            size: 0,
            version: 0,
            threads: session.threads()? as u32,
            chunk: plan.chunk as u32,
            context: plan.context as u64,
            tokens: session.tokens().len() as u64,
            weight_bytes: plan.weight_bytes,
            arena_bytes: plan.arena_bytes,
            kv_bytes: session.kv_bytes()?,
            kv_max_bytes: plan.kv_max_bytes,
            state_bytes: session.state_bytes()? as u64,
        });
        Ok(())
    })
}
