//! The engine's thread.

use std::ops::Range;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tcrt::tokenizer::Tokenizer;
use tcrt::{BatchToken, Engine, Result, SeqId};

use super::active::Active;
use super::hold::{Hold, Idle};
use super::prefixes::{Kept, Prefixes, WORTH_SHARING, common};
use super::queue::{Job, Queue};
use super::reply::Reply;
use super::share::share;
use super::{Event, Failure, Finish, Options, Request};
use crate::metrics::EngineMetrics;

pub struct Worker<'t> {
    engine: Engine,
    tokenizer: &'t Tokenizer,
    options: &'t Options,
    turn: Arc<Mutex<()>>,
    metrics: Arc<EngineMetrics>,
    queue: Queue,
    running: Vec<Active<'t>>,
    prefixes: Prefixes,
    idle: Idle,
    batch: Vec<BatchToken>,
}

/// A job's part of a call.
struct Part {
    job: usize,
    places: Range<usize>,
}

/// How a job ended.
enum Outcome {
    Done(Finish),
    Failed(Failure),
    Abandoned,
}

/// Where a job's sequence comes from.
enum Source {
    New,
    Running { job: usize, len: usize },
    Kept { index: usize, len: usize },
}

impl<'t> Worker<'t> {
    pub fn new(
        engine: Engine,
        tokenizer: &'t Tokenizer,
        options: &'t Options,
        turn: Arc<Mutex<()>>,
        metrics: Arc<EngineMetrics>,
    ) -> Worker<'t> {
        let prefixes = Prefixes::new(options.kept, options.kept_tokens(engine.plan()));
        let (queue, running, idle, batch) = (Queue::default(), Vec::new(), Idle::default(), Vec::new());
        Worker { engine, tokenizer, options, turn, metrics, queue, running, prefixes, idle, batch }
    }

    /// Until nobody can ask for anything any more and everything asked for is answered.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            if self.running.is_empty() && self.queue.len() == 0 {
                self.metrics.state(0, 0, self.engine.kv_bytes());
                match jobs.recv() {
                    Ok(job) => self.queue.push(job),
                    Err(_) => return,
                }
            }
            jobs.try_iter().for_each(|job| self.queue.push(job));
            self.drop_ended();
            self.admit();
            self.metrics.state(self.running.len(), self.queue.len(), self.engine.kv_bytes());
            let parts = self.plan();
            if let Some(hook) = self.options.before_step.as_ref().filter(|_| !parts.is_empty()) {
                hook();
            }
            self.call(&parts);
        }
    }

    /// Takes away what nobody waits for any more.
    fn drop_ended(&mut self) {
        let now = Instant::now();
        for mut job in self.queue.remove_where(|job| job.abandoned() || job.late(now)) {
            job.end(Event::Failed(Failure::TimedOut));
        }
        for job in (0..self.running.len()).rev() {
            if self.running[job].job.abandoned() {
                self.finish(job, Outcome::Abandoned);
            } else if self.running[job].job.late(now) {
                self.finish(job, Outcome::Failed(Failure::TimedOut));
            }
        }
    }

    fn admit(&mut self) {
        while self.running.len() < self.options.concurrency {
            let Worker { queue, running, prefixes, .. } = self;
            let flows = running.iter().map(|active| active.job.request.flow);
            let Some(job) = queue.next(flows, |job| !gains_by_waiting(job, running, prefixes)) else { return };
            self.start(job);
        }
    }

    fn start(&mut self, mut job: Job) {
        let source = self.source(&job);
        let reused = source.len();
        let reply = self.reply(&job.request);
        match reply.and_then(|reply| Ok((reply, self.sequence(source)?))) {
            Ok((reply, sequence)) => {
                self.metrics.started(job.request.prompt.len(), reused);
                self.running.push(Active::new(job, sequence, reused, reply, self.engine.context()));
            }
            Err(error) => job.end(Event::Failed(Failure::Engine(error))),
        }
    }

    fn reply(&mut self, request: &Request) -> Result<Reply<'t>> {
        let hold = match &request.held {
            Some(held) => Some(Hold::new(held, self.idle.take(held, request, self.tokenizer)?)?),
            None => None,
        };
        Reply::new(request, self.tokenizer, self.engine.model().info().vocab, hold)
    }

    /// The sequence that has the most of the prompt already. The last token is always run, for its logits.
    fn source(&self, job: &Job) -> Source {
        let prompt = &job.request.prompt;
        if job.request.wants_all() {
            return Source::New;
        }
        let prompt = &prompt[..prompt.len() - 1];
        let running = self.running.iter().map(|active| common(&active.tokens[..active.done], prompt)).enumerate();
        let running = running.max_by_key(|(_, len)| *len).unwrap_or_default();
        let kept = self.prefixes.best(prompt).unwrap_or_default();
        match (running.1, kept.1) {
            (a, b) if a.max(b) < WORTH_SHARING => Source::New,
            (a, b) if a > b => Source::Running { job: running.0, len: a },
            (_, len) => Source::Kept { index: kept.0, len },
        }
    }

    fn sequence(&mut self, source: Source) -> Result<SeqId> {
        match source {
            Source::New => self.engine.add_sequence(),
            Source::Running { job, len } => {
                let copy = self.engine.fork(self.running[job].sequence)?;
                self.engine.truncate(copy, len)?;
                Ok(copy)
            }
            Source::Kept { index, len } => self.prefixes.take(index, len, &mut self.engine),
        }
    }

    fn plan(&self) -> Vec<Part> {
        let pending: Vec<usize> = self.running.iter().map(Active::pending).collect();
        let shares = share(&pending, self.engine.chunk());
        let part = |(job, (active, share)): (usize, (&Active<'_>, usize))| Part {
            job,
            places: active.done..active.done + share,
        };
        let parts = self.running.iter().zip(shares).enumerate().map(part);
        parts.filter(|part| !part.places.is_empty()).collect()
    }

    /// Runs these parts as one call. Where that fails, each is run alone, so that only those at fault do.
    fn call(&mut self, parts: &[Part]) {
        if parts.is_empty() {
            return;
        }
        match self.forward(parts) {
            Ok(mut ended) => {
                ended.sort_by_key(|(job, _)| std::cmp::Reverse(*job));
                ended.into_iter().for_each(|(job, outcome)| self.finish(job, outcome));
            }
            Err(error) if parts.len() == 1 => self.finish(parts[0].job, Outcome::Failed(Failure::Engine(error))),
            // From the last on, so that those that end leave the places of the others as they are.
            Err(_) => parts.chunks(1).rev().for_each(|part| self.call(part)),
        }
    }

    /// One call, and which jobs ended by it.
    fn forward(&mut self, parts: &[Part]) -> Result<Vec<(usize, Outcome)>> {
        self.batch.clear();
        for Part { job, places } in parts {
            let active = &self.running[*job];
            let rows = active.rows(places);
            self.batch.extend(places.clone().map(|place| BatchToken {
                sequence: active.sequence,
                token: active.tokens[place],
                want_logits: rows.contains(&place),
            }));
        }
        let embeds = |part: &Part| self.running[part.job].job.request.pooling.is_some();
        let begin = Instant::now();
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut logits = match parts.iter().any(embeds) {
            true => self.engine.forward_with_hidden(&self.batch)?,
            false => self.engine.forward(&self.batch)?,
        };
        drop(turn);
        self.metrics.call(self.batch.len(), begin.elapsed());
        let (mut row, mut ended, mut hidden) = (0, Vec::new(), Vec::new());
        for Part { job, places } in parts {
            let active = &mut self.running[*job];
            active.done = places.end;
            for place in active.rows(places) {
                match active.job.request.pooling {
                    None => ended.extend(outcome(*job, active.take(place, logits.row_mut(row)))),
                    Some(_) => hidden.push((*job, place, row)),
                }
                row += 1;
            }
        }
        for (job, place, row) in hidden {
            ended.extend(outcome(job, self.running[job].take_hidden(place, row, &self.engine)));
        }
        Ok(ended)
    }

    fn finish(&mut self, job: usize, outcome: Outcome) {
        let mut active = self.running.remove(job);
        match outcome {
            Outcome::Done(finish) => active.end(finish),
            Outcome::Failed(failure) => active.job.end(Event::Failed(failure)),
            Outcome::Abandoned => self.metrics.abandoned(),
        }
        let first_token = active.first_token.map(|first| first - active.job.arrived);
        self.metrics.ended(active.new_tokens(), first_token, active.job.arrived.elapsed());
        let Active { job, sequence, mut tokens, done, reply, .. } = active;
        reply.release().into_iter().for_each(|hold| self.idle.put(hold.constraint));
        tokens.truncate(done);
        let kept = match job.request.pooling {
            None => self.prefixes.keep(Kept { sequence, tokens }, &mut self.engine),
            // No text goes on from one that was only embedded.
            Some(_) => self.engine.remove(sequence),
        };
        debug_assert!(kept.is_ok(), "sequences are the worker's own: {kept:?}");
    }
}

/// What a row led to, where it ended a job.
fn outcome(job: usize, taken: Result<Option<Finish>>) -> Option<(usize, Outcome)> {
    match taken {
        Ok(finish) => Some((job, Outcome::Done(finish?))),
        Err(error) => Some((job, Outcome::Failed(Failure::Engine(error)))),
    }
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Source::New => 0,
            Source::Running { len, .. } | Source::Kept { len, .. } => *len,
        }
    }
}

/// Whether another prompt that is being run will soon have brought most of what this one needs: as it is ahead, waiting for it takes no
/// longer than running the same tokens beside it.
fn gains_by_waiting(job: &Job, running: &[Active<'_>], prefixes: &Prefixes) -> bool {
    let prompt = &job.request.prompt;
    if job.request.wants_all() {
        return false;
    }
    let prompt = &prompt[..prompt.len() - 1];
    let have = prefixes.best(prompt).map_or(0, |(_, len)| len);
    let coming = running.iter().filter(|active| active.in_prompt()).filter_map(|active| {
        let len = common(&active.job.request.prompt, prompt);
        (len > active.done).then_some(len)
    });
    let gain = coming.max().unwrap_or(0).saturating_sub(have);
    gain >= WORTH_SHARING && 2 * gain >= prompt.len()
}
