//! Who does which task, and when all are done: what the threads of a team share while they run a schedule.

use super::progress::Progress;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out the tasks of a schedule's steps in portions, and counts those that are done. A thread that comes late takes no task of a
/// call that is over: the counters bear the call's number.
pub struct Handout {
    /// For each step, the number of the last call that came to it above the first task that nobody has taken.
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

    /// Begins a call, whose number must be one more than the last one's, all of whose tasks are done.
    pub fn begin(&self, number: u32) -> Round {
        Round { number: u64::from(number) << 32, before: self.done.now() }
    }

    /// The first of the next `portion` of a step's tasks; none when all are taken or the call is over.
    pub fn take(&self, round: &Round, step: usize, tasks: u32, portion: u32) -> Option<u32> {
        // What an earlier call left in the counter is none of this call's tasks; a later call's number says that this one is over.
        // Numbers wrap; no thread is 2^31 calls late.
        let first = |now: u64| match (now.wrapping_sub(round.number) >> 32) as i32 {
            0 => Some(now as u32).filter(|first| *first < tasks),
            1.. => None,
            ..0 => Some(0).filter(|first| *first < tasks),
        };
        let taken = |now: u64| first(now).map(|first| round.number + u64::from(first) + u64::from(portion));
        let before = self.next.get(step)?.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        first(before)
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
