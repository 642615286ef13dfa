//! One conversation with a model: a sequence over an engine of its own, the tokens it holds, and generation.

mod generate;
mod stats;
mod text;

pub use generate::{Event, Finish, GenerateOptions, Generation};
pub use stats::Stats;

use crate::engine::{BatchToken, Engine, EngineOptions};
use crate::kv::SeqId;
use crate::model::Model;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;

pub struct Session {
    engine: Engine,
    sequence: SeqId,
    tokens: Vec<u32>,
    batch: Vec<BatchToken>,
}

impl Session {
    pub fn new(model: Arc<Model>, options: &EngineOptions) -> Result<Session> {
        let mut engine = Engine::new(model, options)?;
        let sequence = engine.add_sequence()?;
        Ok(Session { engine, sequence, tokens: Vec::new(), batch: Vec::new() })
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn model(&self) -> &Arc<Model> {
        self.engine.model()
    }

    /// The tokens the model has seen.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many more tokens fit the context.
    pub fn room(&self) -> usize {
        self.engine.context() - self.tokens.len()
    }

    /// Appends tokens and gives the logits after the last one.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32]> {
        match self.prefill_while(tokens, || true)? {
            true => self.last_logits(),
            false => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        }
    }

    /// Appends one token and gives the logits after it.
    pub fn decode(&mut self, token: u32) -> Result<&mut [f32]> {
        self.prefill(&[token])
    }

    /// Forgets the tokens from `len` on.
    pub fn rewind(&mut self, len: usize) -> Result<()> {
        self.engine.truncate(self.sequence, len)?;
        self.tokens.truncate(len);
        Ok(())
    }

    /// Appends tokens call by call for as long as `go_on`; whether all are in. The last call's last row is their logits.
    fn prefill_while(&mut self, tokens: &[u32], go_on: impl Fn() -> bool) -> Result<bool> {
        if tokens.is_empty() {
            return Err(Error::invalid_argument("the prompt is empty: there is no token to go on from"));
        }
        if tokens.len() > self.room() {
            let (context, taken) = (self.engine.context(), self.tokens.len());
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
            let (now, later) = rest.split_at(rest.len().min(self.engine.chunk()));
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
        self.engine.forward(&self.batch)?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    fn last_logits(&mut self) -> Result<&mut [f32]> {
        let last = self.engine.last_logits()?.into_last();
        last.ok_or_else(|| Error::invalid_argument("the last call gave no logits"))
    }
}
