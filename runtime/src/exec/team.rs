//! The threads that run a schedule together.
//!
//! All follow the same list of steps. The tasks of a step are handed out in small portions to whoever comes; a thread that finds none
//! left goes on to the next step. At a barrier a thread waits until every task before it is *done*, not until every thread has come: one
//! that the system has put aside, or has not woken yet, holds nobody up unless it is inside a task. When it comes, it finds the tasks
//! gone and catches up.
//!
//! So a thread may still be on its way through a call that is over. It can take no task by mistake: the counters that hand them out bear
//! the call's number.

use super::progress::Progress;
use crate::sys::{SharedCall, Step, default_threads};
use crate::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

struct Shared {
    steps: Vec<Step>,
    /// For each step, the call's number above the first task that nobody has taken.
    next: Vec<AtomicU64>,
    threads: u32,
    spins: u32,
    /// Tasks done, over all calls.
    done: Progress,
    /// Calls begun.
    begun: Progress,
    job: Mutex<Option<Job>>,
    quit: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    call: SharedCall,
    /// Above the task in the counters.
    number: u64,
    /// Tasks done before this call.
    before: u64,
}

impl Team {
    /// A team of `threads`, the caller's counted.
    pub fn new(steps: Vec<Step>, threads: usize) -> Result<Team> {
        // Threads that share a processor must sleep, not spin: the one they wait for needs it.
        let spins = if threads > default_threads() { 0 } else { SPINS };
        let threads = u32::try_from(threads.max(1)).map_err(|_| Error::invalid_argument("too many threads"))?;
        let shared = Arc::new(Shared {
            next: steps.iter().map(|_| AtomicU64::new(0)).collect(),
            steps,
            threads,
            spins,
            done: Progress::default(),
            begun: Progress::default(),
            job: Mutex::new(None),
            quit: AtomicBool::new(false),
        });
        let mut team = Team { shared, workers: Vec::new(), calls: 0 };
        for i in 1..threads {
            team.workers.push(team.spawn(i)?);
        }
        Ok(team)
    }

    fn spawn(&self, i: u32) -> Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name(format!("tcrt-{i}")).spawn(move || shared.work());
        spawned.map_err(|error| Error::new(ErrorKind::LimitExceeded, format!("cannot start thread {i}: {error}")))
    }

    pub fn threads(&self) -> usize {
        self.shared.threads as usize
    }

    /// Runs the whole schedule; all of it is done when this returns.
    pub fn run(&mut self, call: &Call) {
        let shared = &*self.shared;
        self.calls = self.calls.wrapping_add(1);
        let job = Job { call: SharedCall(*call), number: u64::from(self.calls) << 32, before: shared.done.now() };
        for next in &shared.next {
            next.store(job.number, Ordering::Relaxed);
        }
        if !self.workers.is_empty() {
            *shared.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
            shared.begun.add(1, 0);
        }
        let end = shared.play(&job);
        shared.done.wait(end, shared.spins);
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
    fn work(&self) {
        let mut seen = 0;
        loop {
            self.begun.wait(seen + 1, self.spins);
            seen = self.begun.now();
            if self.quit.load(Ordering::SeqCst) {
                return;
            }
            let job = *self.job.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(job) = job {
                self.play(&job);
            }
        }
    }

    /// Takes part in a call until no task is left, and says how many tasks are done when it is over.
    fn play(&self, job: &Job) -> u64 {
        let mut end = job.before;
        for (step, next) in self.steps.iter().zip(&self.next) {
            if step.barrier {
                self.done.wait(end, self.spins);
            }
            let tasks = step.tasks(&job.call.0);
            end += u64::from(tasks);
            let portion = if self.threads == 1 { tasks } else { grain(tasks, self.threads) };
            while let Some(begin) = take(next, job.number, tasks, portion) {
                let stop = tasks.min(begin + portion);
                step.run(&job.call.0, begin, stop);
                self.done.add(u64::from(stop - begin), end);
            }
        }
        end
    }
}

/// The first of the next `portion` tasks; none when all are taken or the call is over.
fn take(next: &AtomicU64, number: u64, tasks: u32, portion: u32) -> Option<u32> {
    let taken = |now: u64| {
        let first = u32::try_from(now.checked_sub(number)?).ok()?;
        (first < tasks).then(|| now + u64::from(portion))
    };
    let before = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
    u32::try_from(before - number).ok()
}
