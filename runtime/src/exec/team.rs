//! The threads that run a schedule together. Between two barriers nobody waits: whoever is done with its part of an instruction
//! goes on to the next, and the parts are handed out in small portions, so that one slow thread holds nobody up for long.

use super::gate::{Barrier, Gate};
use crate::sys::{SharedCall, Step, default_threads};
use crate::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tc_kernels::abi::Call;
use tc_kernels::table::grain;

/// Looks before a thread sleeps: some tens of microseconds, longer than most instructions and much less than a token.
const SPINS: u32 = 4000;

pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    steps: Vec<Step>,
    /// For each step, the first task nobody has taken.
    next: Vec<Counter>,
    threads: u32,
    spins: u32,
    barrier: Barrier,
    start: Gate,
    call: Mutex<Option<SharedCall>>,
    quit: AtomicBool,
}

/// Alone on its cache line, so that threads in different instructions do not slow each other down.
#[repr(align(64))]
#[derive(Default)]
struct Counter(AtomicU32);

impl Team {
    /// A team of `threads`, the caller's counted.
    pub fn new(steps: Vec<Step>, threads: usize) -> Result<Team> {
        // Threads that share a processor must sleep, not spin: the one they wait for needs it.
        let spins = if threads > default_threads() { 0 } else { SPINS };
        let threads = u32::try_from(threads.max(1)).map_err(|_| Error::invalid_argument("too many threads"))?;
        let shared = Arc::new(Shared {
            next: steps.iter().map(|_| Counter::default()).collect(),
            steps,
            threads,
            spins,
            barrier: Barrier::new(threads),
            start: Gate::default(),
            call: Mutex::new(None),
            quit: AtomicBool::new(false),
        });
        let mut team = Team { shared, workers: Vec::new() };
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
        for counter in &shared.next {
            counter.0.store(0, Ordering::Relaxed);
        }
        if !self.workers.is_empty() {
            *shared.call.lock().unwrap_or_else(PoisonError::into_inner) = Some(SharedCall(*call));
            shared.start.open();
        }
        shared.play(call);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.start.open();
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
            self.start.wait(seen, self.spins);
            seen = seen.wrapping_add(1);
            if self.quit.load(Ordering::SeqCst) {
                return;
            }
            let call = *self.call.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(SharedCall(call)) = call {
                self.play(&call);
            }
        }
    }

    fn play(&self, call: &Call) {
        for (step, next) in self.steps.iter().zip(&self.next) {
            if step.barrier {
                self.barrier.wait(self.spins);
            }
            let tasks = step.tasks(call);
            let portion = if self.threads == 1 { tasks } else { grain(tasks, self.threads) };
            loop {
                let begin = next.0.fetch_add(portion, Ordering::Relaxed);
                if begin >= tasks {
                    break;
                }
                step.run(call, begin, tasks.min(begin + portion));
            }
        }
        self.barrier.wait(self.spins);
    }
}
