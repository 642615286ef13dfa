//! The threads that run a schedule together.
//!
//! All follow the same list of steps. The tasks of a step are handed out in small portions to whoever comes; a thread that finds none
//! left goes on to the next step. At a barrier a thread waits until every task before it is *done*, not until every thread has come: one
//! that the system has put aside, or has not woken yet, holds nobody up unless it is inside a task. When it comes, it finds the tasks
//! gone and catches up.
//!
//! So a thread may still be on its way through a call that is over. It can take no task by mistake: the counters that hand them out bear
//! the call's number.

use super::handout::{Handout, Round};
use super::progress::Progress;
use crate::sys::{Bound, SharedCall, Step, default_threads};
use crate::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tc_kernels::abi::Call;
use tc_kernels::table::grain;

/// Looks before a thread sleeps: some tens of microseconds, longer than most instructions and much less than a token.
const SPINS: u32 = 2000;

pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    calls: u32,
}

/// What all threads run.
pub enum Schedule {
    /// A program's instructions.
    Steps(Vec<Step>),
    /// Generated code.
    Native(Bound),
}

struct Shared {
    schedule: Schedule,
    handout: Arc<Handout>,
    /// Calls begun.
    begun: Progress,
    job: Mutex<Option<Job>>,
    quit: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    call: SharedCall,
    /// Whether hidden states are to be left where the artifact says.
    hidden: bool,
    round: Round,
}

/// Hands out `steps` steps to a team of `threads`, the caller's counted.
pub fn handout(steps: usize, threads: usize) -> Result<Arc<Handout>> {
    // Threads that share a processor must sleep, not spin: the one they wait for needs it.
    let spins = if threads > default_threads() { 0 } else { SPINS };
    let threads = u32::try_from(threads.max(1)).map_err(|_| Error::invalid_argument("too many threads"))?;
    Ok(Arc::new(Handout::new(steps, threads, spins)))
}

impl Team {
    pub fn new(schedule: Schedule, handout: Arc<Handout>) -> Result<Team> {
        let threads = handout.threads();
        let (begun, job, quit) = (Progress::default(), Mutex::new(None), AtomicBool::new(false));
        let shared = Arc::new(Shared { schedule, handout, begun, job, quit });
        let mut team = Team { shared, workers: Vec::new(), calls: 0 };
        for i in 1..threads {
            team.workers.push(team.spawn(i)?);
        }
        Ok(team)
    }

    fn spawn(&self, i: u32) -> Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name(format!("tcrt-{i}")).spawn(move || shared.work(i));
        spawned.map_err(|error| Error::new(ErrorKind::LimitExceeded, format!("cannot start thread {i}: {error}")))
    }

    pub fn threads(&self) -> usize {
        self.shared.handout.threads() as usize
    }

    /// Runs the whole schedule; all of it is done when this returns. With `hidden`, hidden states are left where the artifact says.
    pub fn run(&mut self, call: &Call, hidden: bool) {
        let shared = &*self.shared;
        self.calls = self.calls.wrapping_add(1);
        let job = Job { call: SharedCall(*call), hidden, round: shared.handout.begin(self.calls) };
        if !self.workers.is_empty() {
            *shared.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
            shared.begun.add(1, 0);
        }
        let tasks = shared.play(&job, 0);
        shared.handout.wait(&job.round, 0, tasks);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.begun.add(1, 0);
        for worker in self.workers.drain(..) {
            // A worker cannot panic: kernels abort instead of unwinding.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, thread: u32) {
        let mut seen = 0;
        loop {
            self.begun.wait(seen + 1, self.handout.spins());
            seen = self.begun.now();
            if self.quit.load(Ordering::SeqCst) {
                return;
            }
            let job = *self.job.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(job) = job {
                self.play(&job, thread);
                self.handout.say(thread);
            }
        }
    }

    /// Takes part in a call until no task is left, and says how many tasks it has.
    fn play(&self, job: &Job, thread: u32) -> u64 {
        match &self.schedule {
            Schedule::Steps(steps) => self.play_steps(steps, job, thread),
            Schedule::Native(code) => code.run(&job.call.0, job.hidden, thread, &job.round),
        }
    }

    fn play_steps(&self, steps: &[Step], job: &Job, thread: u32) -> u64 {
        let (handout, Job { call, round, .. }) = (&*self.handout, job);
        let mut end = 0;
        for (i, step) in steps.iter().enumerate() {
            if step.barrier {
                handout.wait(round, thread, end);
            }
            let tasks = step.tasks(&call.0);
            end += u64::from(tasks);
            let portion = match handout.threads() {
                1 => tasks,
                threads => grain(tasks, threads, step.least(&call.0)),
            };
            while let Some(begin) = handout.take(round, thread, i, tasks, portion) {
                let stop = tasks.min(begin + portion);
                step.run(&call.0, begin, stop);
                handout.done(round, thread, stop - begin, end);
            }
        }
        end
    }
}
