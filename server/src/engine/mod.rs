//! Runs many replies at once on one model: a thread that makes one ragged call after the other, each with the next token of every
//! reply and as much of the new prompts as there is room for.

mod active;
mod hold;
mod logprob;
mod prefixes;
mod queue;
mod reply;
mod request;
mod share;
mod worker;

pub use hold::{Held, Trigger};
pub use request::{End, Event, Failure, Finish, Pooling, Refused, Request, Scored};

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tcrt::kv::KV_BLOCK;
use tcrt::tokenizer::Tokenizer;
use tcrt::{EngineOptions, Error, ErrorKind, KvType, MemoryPlan, Model};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::metrics::EngineMetrics;
use queue::{Job, Ticket};
use worker::Worker;

/// Called before each call of the engine.
pub type StepHook = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    /// 0: as many as there are processors.
    pub threads: usize,
    /// Positions of a sequence; 0: the model's, but at most 8192.
    pub context: usize,
    /// Tokens of one call.
    pub chunk: usize,
    pub kv_dtype: KvType,
    /// Replies that run at once.
    pub concurrency: usize,
    /// Replies that may wait.
    pub queue: usize,
    /// Ended sequences kept for prompts that begin alike.
    pub kept: usize,
    /// Bytes of the KV cache that they may take.
    pub kept_bytes: u64,
    /// For tests, which hold the engine here.
    pub before_step: Option<StepHook>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            threads: 0,
            context: 0,
            chunk: 256,
            kv_dtype: KvType::F16,
            concurrency: 16,
            queue: 128,
            kept: 16,
            kept_bytes: 1 << 30,
            before_step: None,
        }
    }
}

impl Options {
    fn engine(&self) -> EngineOptions {
        // Every reply needs a token of each call.
        let chunk = self.chunk.max(self.concurrency);
        EngineOptions {
            threads: self.threads,
            chunk,
            // Where scores of a prompt are asked for, every token has a row. Memory is taken as rows are used.
            max_rows: chunk,
            kv_dtype: self.kv_dtype,
            context: self.context,
            max_sequences: self.concurrency + self.kept,
            tier: None,
        }
    }

    fn max_bytes(&self, plan: &MemoryPlan) -> u64 {
        let sequence = plan.context.div_ceil(KV_BLOCK) as u64 * plan.kv_block_bytes;
        let kept = (self.kept as u64 * sequence).min(self.kept_bytes);
        plan.max_bytes() - plan.kv_max_bytes + self.concurrency as u64 * sequence + kept
    }

    /// Tokens of kept sequences: those share blocks, so this is more careful than it had to be.
    fn kept_tokens(&self, plan: &MemoryPlan) -> usize {
        (self.kept_bytes / plan.kv_block_bytes) as usize * KV_BLOCK
    }
}

/// The way to a running engine. When the last one is dropped, the engine finishes what it has and ends.
pub struct Engine {
    jobs: Sender<Job>,
    /// Replies that run or wait.
    taken: Arc<AtomicUsize>,
    concurrency: usize,
    most: usize,
    plan: MemoryPlan,
    max_bytes: u64,
    thread: JoinHandle<()>,
    pub metrics: Arc<EngineMetrics>,
}

impl Engine {
    /// `turn` is held during a call: engines that share it never run at the same time.
    pub fn start(
        model: Arc<Model>,
        tokenizer: Arc<Tokenizer>,
        options: &Options,
        turn: Arc<Mutex<()>>,
    ) -> tcrt::Result<Engine> {
        let engine = tcrt::Engine::new(model, &options.engine())?;
        let plan = *engine.plan();
        let max_bytes = options.max_bytes(&plan);
        let (jobs, receiver) = channel();
        let metrics = Arc::new(EngineMetrics::default());
        let (options, shared) = (options.clone(), Arc::clone(&metrics));
        let (concurrency, most) = (options.concurrency, options.concurrency + options.queue);
        let run = move || Worker::new(engine, &tokenizer, &options, turn, shared).run(&receiver);
        let thread = thread::Builder::new().name("tcrt-engine".into()).spawn(run);
        let failed = |error| Error::new(ErrorKind::LimitExceeded, format!("cannot start the engine: {error}"));
        let (taken, thread) = (Arc::default(), thread.map_err(failed)?);
        Ok(Engine { jobs, taken, concurrency, most, plan, max_bytes, thread, metrics })
    }

    /// Positions of a sequence.
    pub fn context(&self) -> usize {
        self.plan.context
    }

    /// Everything that the engine may come to use: replies as long as the context, and what is kept.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Replies that run at once.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Replies that may run and wait together.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether its thread still runs: a fault may have ended it.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Takes all of these requests or none. Each event comes with the number of its request; the channel ends with an `End` or `Failed` for each.
    /// Who drops the receiver ends the replies.
    pub fn submit(&self, requests: Vec<Request>) -> Result<UnboundedReceiver<(usize, Event)>, Refused> {
        let tickets = Ticket::take(&self.taken, requests.len(), self.most).ok_or(Refused::Busy)?;
        let (events, receiver) = unbounded_channel();
        let arrived = Instant::now();
        for (index, (request, ticket)) in requests.into_iter().zip(tickets).enumerate() {
            let job = Job { request, index, events: events.clone(), arrived, ticket: Some(ticket) };
            self.jobs.send(job).map_err(|_| Refused::Gone)?;
        }
        Ok(receiver)
    }
}
