//! Who does which task, and when all are done: what the threads of a team share while they run a schedule.

use super::progress::Progress;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out the tasks of a schedule's steps in portions, and counts those that are done. A thread that comes late takes no task of a
/// call that is over: the counters bear the call's number.
pub struct Handout {
    /// For each step, the call's number above the first task that nobody has taken.
    next: Vec<Next>,
    threads: u32,
    spins: u32,
    /// Tasks done, over all calls.
    done: Progress,
}

/// Alone on its cache line, so that threads in different steps do not slow each other down.
#[repr(align(64))]
#[derive(Default)]
struct Next(AtomicU64);

/// One call, as its threads know it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Round {
    /// Above the task in the counters.
    number: u64,
    /// Tasks done before this call.
    before: u64,
}

impl Handout {
    pub fn new(steps: usize, threads: u32, spins: u32) -> Handout {
        let next = (0..steps).map(|_| Next::default()).collect();
        Handout { next, threads, spins, done: Progress::default() }
    }

    pub fn threads(&self) -> u32 {
        self.threads
    }

    pub fn spins(&self) -> u32 {
        self.spins
    }

    /// Begins a call, which must have another number than those before it, all of whose tasks are done.
    pub fn begin(&self, number: u32) -> Round {
        let round = Round { number: u64::from(number) << 32, before: self.done.now() };
        for next in &self.next {
            next.0.store(round.number, Ordering::Relaxed);
        }
        round
    }

    /// The first of the next `portion` of a step's tasks; none when all are taken or the call is over.
    pub fn take(&self, round: &Round, step: usize, tasks: u32, portion: u32) -> Option<u32> {
        let taken = |now: u64| {
            let first = u32::try_from(now.checked_sub(round.number)?).ok()?;
            (first < tasks).then(|| now + u64::from(portion))
        };
        let next = &self.next.get(step)?.0;
        let before = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        u32::try_from(before - round.number).ok()
    }

    /// `tasks` are done, of the call's first `upto`, for which somebody may wait.
    pub fn done(&self, round: &Round, tasks: u32, upto: u64) {
        self.done.add(u64::from(tasks), round.before + upto);
    }

    /// Returns once the call's first `upto` tasks are done.
    pub fn wait(&self, round: &Round, upto: u64) {
        self.done.wait(round.before + upto, self.spins);
    }
}
