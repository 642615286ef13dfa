//! Work on every core.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

/// How many items are worked on at a time, at most: one for each processor.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work` on each item, as many at a time as there are processors. Each worker takes the next item when it is done with one.
pub fn for_each<T>(items: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        while let Some(item) = next() {
            work(item);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers()).map(|_| scope.spawn(run)).collect();
        run();
        others.into_iter().for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
    });
}
