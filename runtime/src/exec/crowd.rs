//! Processors that other programs want, too.
//!
//! A thread that the system puts aside with a task in hand holds up all others until its next turn, milliseconds later. So while there is
//! a crowd, threads give up the processor by themselves, between two tasks, before the system takes it: the others then do all the work
//! meanwhile. A thread gets as much time as before: who yields halfway has the next turn sooner.
//!
//! The system shares out time among programs' threads, and lets two of ours take turns on one processor while a stranger has another for
//! itself. So in a crowd each worker stays on a processor of its own, where there is one for every thread; the caller's thread, which is
//! not ours, stays where it is.

use crate::sys::{allowed, current, stay_on};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread works between two yields: less than what Linux gives it before it is put aside, 3 ms and more.
const TURN: Duration = Duration::from_millis(2);
/// A longer sleep or yield says that a thread was put aside.
const ASIDE: Duration = Duration::from_micros(1500);
/// How long after the last such sign there is a crowd.
const MEMORY: Duration = Duration::from_millis(20);

/// Times are nanoseconds since `origin`.
pub struct Crowd {
    origin: Instant,
    /// Until when there is one; 0 where nobody needs to look at a clock.
    until: AtomicU64,
    /// As many as there are threads; none where they are fewer or more.
    processors: Vec<u32>,
    /// Which of them the caller's thread is on.
    caller: AtomicU32,
}

/// A thread's part in it, which it alone changes.
#[derive(Default)]
pub struct Turn {
    /// When it yielded last.
    yielded: AtomicU64,
    /// The number of the processor that it stays on, counted from 1; 0 for any.
    place: AtomicU32,
}

impl Crowd {
    pub fn new(threads: u32) -> Crowd {
        let processors = allowed();
        let processors = if processors.len() == threads as usize { processors } else { Vec::new() };
        Crowd { origin: Instant::now(), until: AtomicU64::new(0), processors, caller: AtomicU32::new(0) }
    }

    /// A call begins, in the caller's thread.
    pub fn begin(&self) {
        if self.until.load(Ordering::Relaxed) > 0 {
            let place = current().and_then(|on| self.processors.iter().position(|processor| *processor == on));
            self.caller.store(place.unwrap_or(0) as u32, Ordering::Relaxed);
        }
    }

    /// A thread waited that long for another's task, or for its own next turn.
    pub fn waited(&self, time: Duration) {
        if time > ASIDE {
            self.until.store(self.now() + nanos(MEMORY), Ordering::Relaxed);
        }
    }

    /// Whether it is time for [`make_way`](Self::make_way).
    #[inline]
    pub fn is_over(&self, turn: &Turn) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        let quiet = until == 0 && turn.place.load(Ordering::Relaxed) == 0;
        !quiet && self.is_over_at(self.now(), until, turn)
    }

    fn is_over_at(&self, now: u64, until: u64, turn: &Turn) -> bool {
        if now > until {
            self.until.store(0, Ordering::Relaxed);
            return turn.place.load(Ordering::Relaxed) > 0;
        }
        now.saturating_sub(turn.yielded.load(Ordering::Relaxed)) > nanos(TURN)
    }

    /// Lets other programs run where there is a crowd; the thread must hold no task.
    pub fn make_way(&self, thread: u32, turn: &Turn) {
        if self.until.load(Ordering::Relaxed) == 0 {
            stay_on(&self.processors);
            turn.place.store(0, Ordering::Relaxed);
            return;
        }
        self.stay(thread, turn);
        let before = Instant::now();
        thread::yield_now();
        self.waited(before.elapsed());
        turn.yielded.store(self.now(), Ordering::Relaxed);
    }

    /// A worker stays on the processor that is as far from the caller's as its number says.
    fn stay(&self, thread: u32, turn: &Turn) {
        if thread == 0 || self.processors.is_empty() {
            return;
        }
        let place = (self.caller.load(Ordering::Relaxed) + thread) as usize % self.processors.len();
        if turn.place.swap(place as u32 + 1, Ordering::Relaxed) != place as u32 + 1 {
            stay_on(&self.processors[place..=place]);
        }
    }

    #[cfg(test)]
    pub fn stays(&self) {
        self.until.store(u64::MAX, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end_in_a_crowd_only() {
        let (crowd, turn) = (Crowd::new(1), Turn::default());
        crowd.waited(Duration::from_micros(30));
        assert!(!crowd.is_over(&turn));
        crowd.waited(Duration::from_millis(4));
        let until = crowd.until.load(Ordering::Relaxed);
        let begin = until - nanos(MEMORY);
        turn.yielded.store(begin, Ordering::Relaxed);
        assert!(!crowd.is_over_at(begin + nanos(TURN), until, &turn));
        assert!(crowd.is_over_at(begin + nanos(TURN) + 1, until, &turn));
        assert!(!crowd.is_over_at(until + 1, until, &turn));
        assert_eq!(crowd.until.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_worker_has_a_processor_for_itself_while_there_is_a_crowd() {
        let all = allowed();
        let (crowd, turn) = (Crowd::new(all.len() as u32), Turn::default());
        let work = || {
            crowd.waited(Duration::from_secs(1));
            for thread in 1..all.len() {
                crowd.begin();
                crowd.make_way(thread as u32, &turn);
                let caller = crowd.caller.load(Ordering::Relaxed) as usize;
                assert_eq!(allowed(), [all[(caller + thread) % all.len()]]);
            }
            assert!(!crowd.is_over_at(u64::MAX, 0, &Turn::default()));
            assert_eq!(crowd.is_over(&turn), all.len() > 1);
            crowd.make_way(1, &turn);
            assert_eq!((allowed(), crowd.is_over(&turn)), (all.clone(), false));
        };
        thread::scope(|scope| drop(scope.spawn(work)));
    }
}
