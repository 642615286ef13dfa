//! How threads wait for each other: spinning while the wait is likely short, asleep when it is not.

use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A count that only grows, and threads that wait until it has come far enough. What was written before an `add` is seen by whoever
/// waited for it. Alone on its cache lines: while threads wait and add, what lies beside it is read.
#[repr(align(128))]
#[derive(Default)]
pub struct Progress {
    count: AtomicU64,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Progress {
    pub fn now(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Adds `n`. Nobody who waits for this addition waits for less than `least`.
    pub fn add(&self, n: u64, least: u64) {
        let now = self.count.fetch_add(n, Ordering::SeqCst) + n;
        // A sleeper counts itself before it looks a last time, so either it sees the new count or we see it sleeping.
        if now >= least && self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }

    /// Returns once the count is `target` or more, and how long it slept for it; sleeps after `spins` looks.
    pub fn wait(&self, target: u64, spins: u32) -> Duration {
        for _ in 0..spins {
            if self.now() >= target {
                return Duration::ZERO;
            }
            hint::spin_loop();
        }
        let begin = Instant::now();
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.count.load(Ordering::SeqCst) < target {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        begin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_on_early_whether_spinning_or_asleep() {
        for spins in [0, 1000] {
            let (progress, arrivals) = (Progress::default(), AtomicU64::new(0));
            let work = || {
                for round in 1..=200 {
                    arrivals.fetch_add(1, Ordering::SeqCst);
                    progress.add(1, 3 * round);
                    progress.wait(3 * round, spins);
                    assert!(arrivals.load(Ordering::SeqCst) >= 3 * round);
                }
            };
            std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(work))));
            assert_eq!(progress.now(), 600);
        }
    }
}
