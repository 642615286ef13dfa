//! One conversation with a model: a sequence of an engine, the tokens it holds, and generation. A session has an engine of its own;
//! its forks share it, so their calls take turns, and the past they have in common lies in memory once.

mod generate;
mod speculate;
mod state;
mod stats;
mod text;

pub use generate::{Event, Finish, GenerateOptions, Generation};
pub use speculate::{Draft, DraftModel, Lookup, NoDraft};
pub use stats::Stats;

use crate::engine::{BatchToken, Engine, EngineOptions, MemoryPlan};
use crate::kv::SeqId;
use crate::model::Model;
use crate::{Error, ErrorKind, Result};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Session {
    engine: Arc<Mutex<Engine>>,
    model: Arc<Model>,
    sequence: SeqId,
    context: usize,
    chunk: usize,
    tokens: Vec<u32>,
    batch: Vec<BatchToken>,
    last: LastLogits,
}

/// Where the logits after the last token are.
enum LastLogits {
    None,
    /// With the engine, which nobody else calls.
    InEngine,
    /// Copied, because a fork may call the engine.
    Own(Vec<f32>),
}

impl Session {
    pub fn new(model: Arc<Model>, options: &EngineOptions) -> Result<Session> {
        let mut engine = Engine::new(Arc::clone(&model), options)?;
        let sequence = engine.add_sequence()?;
        let (context, chunk) = (engine.context(), engine.chunk());
        let engine = Arc::new(Mutex::new(engine));
        let last = LastLogits::None;
        Ok(Session { engine, model, sequence, context, chunk, tokens: Vec::new(), batch: Vec::new(), last })
    }

    /// Another session with the same past, on the same engine; `max_sequences` bounds how many there may be.
    pub fn fork(&mut self) -> Result<Session> {
        let logits = match &self.last {
            LastLogits::None => None,
            _ => Some(self.last_logits()?.to_vec()),
        };
        let sequence = self.lock()?.fork(self.sequence)?;
        let last = || logits.clone().map_or(LastLogits::None, LastLogits::Own);
        self.last = last();
        Ok(Session {
            engine: Arc::clone(&self.engine),
            model: Arc::clone(&self.model),
            sequence,
            tokens: self.tokens.clone(),
            batch: Vec::new(),
            last: last(),
            ..*self
        })
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What the engine uses, shared by all forks.
    pub fn memory_plan(&self) -> Result<MemoryPlan> {
        Ok(*self.lock()?.plan())
    }

    pub fn threads(&self) -> Result<usize> {
        Ok(self.lock()?.threads())
    }

    /// Bytes of the KV cache that this session and its forks hold now.
    pub fn kv_bytes(&self) -> Result<u64> {
        Ok(self.lock()?.kv_bytes())
    }

    /// Positions that the session may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The tokens the model has seen.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many more tokens fit the context.
    pub fn room(&self) -> usize {
        self.context - self.tokens.len()
    }

    /// Appends tokens and gives the logits after the last one.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32]> {
        self.prefill_unless(tokens, &AtomicBool::new(false))?;
        self.last_logits()
    }

    /// As `prefill`, until `cancel` is set by any thread: then it ends with `ErrorKind::Cancelled` before the next call, and what was run
    /// stays.
    pub fn prefill_unless(&mut self, tokens: &[u32], cancel: &AtomicBool) -> Result<()> {
        match self.prefill_while(tokens, || !cancel.load(Ordering::Relaxed))? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        }
    }

    /// Appends one token and gives the logits after it.
    pub fn decode(&mut self, token: u32) -> Result<&mut [f32]> {
        self.prefill(&[token])
    }

    /// Forgets the tokens from `len` on.
    pub fn rewind(&mut self, len: usize) -> Result<()> {
        self.lock()?.truncate(self.sequence, len)?;
        if len < self.tokens.len() {
            self.last = LastLogits::None;
        }
        self.tokens.truncate(len);
        Ok(())
    }

    /// Appends tokens call by call for as long as `go_on`; whether all are in. The last call's last row is their logits.
    fn prefill_while(&mut self, tokens: &[u32], go_on: impl Fn() -> bool) -> Result<bool> {
        if tokens.is_empty() {
            return Err(Error::invalid_argument("the prompt is empty: there is no token to go on from"));
        }
        if tokens.len() > self.room() {
            let (context, taken) = (self.context, self.tokens.len());
            let message = match taken {
                0 => format!("the prompt has {} tokens, but the context only {context}", tokens.len()),
                _ => format!("{} more tokens do not fit: the context is {context}, {taken} are taken", tokens.len()),
            };
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let mut rest = tokens;
        while !rest.is_empty() {
            if !go_on() {
                return Ok(false);
            }
            let (now, later) = rest.split_at(rest.len().min(self.chunk));
            self.append(now, later.is_empty())?;
            rest = later;
        }
        Ok(true)
    }

    fn append(&mut self, tokens: &[u32], want_logits: bool) -> Result<()> {
        let sequence = self.sequence;
        self.batch.clear();
        self.batch.extend(tokens.iter().map(|token| BatchToken { sequence, token: *token, want_logits: false }));
        if let Some(last) = self.batch.last_mut() {
            last.want_logits = want_logits;
        }
        self.last = LastLogits::None;
        // Where nobody shares the engine now, nobody will before this session forks.
        let alone = Arc::strong_count(&self.engine) == 1;
        let mut engine = self.engine.lock().map_err(broken)?;
        self.last = match engine.forward(&self.batch)?.into_last() {
            None => LastLogits::None,
            Some(_) if alone => LastLogits::InEngine,
            Some(logits) => LastLogits::Own(logits.to_vec()),
        };
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Guesses that one call can verify.
    fn max_guesses(&self) -> Result<usize> {
        let engine = self.lock()?;
        Ok(engine.max_rows().min(engine.chunk()) - 1)
    }

    /// Appends tokens, all in one call, and shows the logits after each, in order, until `read` breaks off with what it wanted. It must
    /// after the last one.
    fn append_and_read<T>(
        &mut self,
        tokens: &[u32],
        mut read: impl FnMut(usize, &mut [f32]) -> Result<ControlFlow<T>>,
    ) -> Result<T> {
        let sequence = self.sequence;
        self.batch.clear();
        self.batch.extend(tokens.iter().map(|token| BatchToken { sequence, token: *token, want_logits: true }));
        self.last = LastLogits::None;
        let mut engine = self.engine.lock().map_err(broken)?;
        let mut logits = engine.forward(&self.batch)?;
        self.tokens.extend_from_slice(tokens);
        for row in 0..logits.rows() {
            if let ControlFlow::Break(wanted) = read(row, logits.row_mut(row))? {
                return Ok(wanted);
            }
        }
        Err(Error::new(ErrorKind::Internal, "no row of logits was the last one"))
    }

    /// The logits after the last token, as the model gave them or as the caller has changed them since.
    pub fn last_logits(&mut self) -> Result<&mut [f32]> {
        let none =
            || Error::invalid_argument("there are no logits: the last token was not run since the session changed");
        match &mut self.last {
            LastLogits::None => Err(none()),
            LastLogits::Own(logits) => Ok(logits),
            LastLogits::InEngine => {
                let engine = Arc::get_mut(&mut self.engine).ok_or_else(none)?.get_mut().map_err(broken)?;
                engine.last_logits()?.into_last().ok_or_else(none)
            }
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Engine>> {
        self.engine.lock().map_err(broken)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(mut engine) = self.engine.lock() {
            // The sequence is this session's, so there is one to remove.
            let _ = engine.remove(self.sequence);
        }
    }
}

fn broken<T>(_: PoisonError<T>) -> Error {
    Error::new(ErrorKind::Internal, "a fault of the library in an earlier call left the session unusable")
}
