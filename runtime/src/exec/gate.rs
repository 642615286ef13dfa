//! How threads wait for each other: spinning while the wait is likely short, asleep when it is not.

use std::hint;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Opens again and again; whoever waits says how often it has seen it open.
#[derive(Default)]
pub struct Gate {
    opened: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    pub fn opened(&self) -> u32 {
        self.opened.load(Ordering::Acquire)
    }

    /// Lets everybody through. What was written before is seen by those who pass.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::SeqCst);
        // A sleeper counts itself before it looks a last time, so either it sees the gate open or we see it sleeping.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }

    /// Returns once the gate has opened since `seen`; sleeps after `spins` looks.
    pub fn wait(&self, seen: u32, spins: u32) {
        for _ in 0..spins {
            if self.opened() != seen {
                return;
            }
            hint::spin_loop();
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.opened.load(Ordering::SeqCst) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Nobody passes before all have come.
pub struct Barrier {
    threads: u32,
    arrived: AtomicU32,
    gate: Gate,
}

impl Barrier {
    pub fn new(threads: u32) -> Barrier {
        Barrier { threads, arrived: AtomicU32::new(0), gate: Gate::default() }
    }

    pub fn wait(&self, spins: u32) {
        let seen = self.gate.opened();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.gate.open();
        } else {
            self.gate.wait(seen, spins);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_a_barrier_early_whether_spinning_or_asleep() {
        for spins in [0, 1000] {
            let (barrier, arrivals) = (Barrier::new(3), AtomicU32::new(0));
            let work = || {
                for round in 1..=200 {
                    arrivals.fetch_add(1, Ordering::SeqCst);
                    barrier.wait(spins);
                    assert_eq!(arrivals.load(Ordering::SeqCst), 3 * round);
                    barrier.wait(spins);
                }
            };
            std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(work))));
        }
    }
}
