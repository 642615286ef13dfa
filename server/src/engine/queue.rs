//! Requests that wait for a place.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::{Event, Request};

/// A request on its way through the engine.
pub struct Job {
    pub request: Request,
    /// Which of the caller's replies it is.
    pub index: usize,
    pub events: UnboundedSender<(usize, Event)>,
    pub arrived: Instant,
    /// Until the job has ended.
    pub ticket: Option<Ticket>,
}

impl Job {
    /// Tells the caller, who may have gone.
    pub fn send(&self, event: Event) {
        let _ = self.events.send((self.index, event));
    }

    /// Tells the caller the last there is to tell; the job's place is free before the caller knows.
    pub fn end(&mut self, event: Event) {
        self.ticket = None;
        self.send(event);
    }

    pub fn abandoned(&self) -> bool {
        self.events.is_closed()
    }

    pub fn late(&self, now: Instant) -> bool {
        self.request.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// A place among those that run or wait, given back when dropped.
pub struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    /// As many places as asked for, or none.
    pub fn take(taken: &Arc<AtomicUsize>, count: usize, most: usize) -> Option<Vec<Ticket>> {
        let fits = |taken: usize| taken.checked_add(count).filter(|sum| *sum <= most);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some((0..count).map(|_| Ticket(Arc::clone(taken))).collect())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// In the order of arrival.
#[derive(Default)]
pub struct Queue {
    waiting: Vec<Job>,
    /// When each flow that still waits or runs had its last turn, as a count of turns.
    turns: HashMap<u64, u64>,
    turn: u64,
}

impl Queue {
    pub fn push(&mut self, job: Job) {
        self.waiting.push(job);
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn remove_where(&mut self, ended: impl FnMut(&mut Job) -> bool) -> impl Iterator<Item = Job> {
        self.waiting.extract_if(.., ended)
    }

    /// The next to run: of those that are ready, the one whose flow runs least; among equals, whose flow has waited longest for its turn;
    /// of one flow, the earliest.
    pub fn next(&mut self, running: impl Iterator<Item = u64>, ready: impl Fn(&Job) -> bool) -> Option<Job> {
        let mut load: HashMap<u64, usize> = HashMap::new();
        running.for_each(|flow| *load.entry(flow).or_default() += 1);
        let waits = |flow: &u64| self.waiting.iter().any(|job| job.request.flow == *flow);
        self.turns.retain(|flow, _| load.contains_key(flow) || waits(flow));
        let candidates = self.waiting.iter().enumerate().filter(|(_, job)| ready(job));
        let rank = |flow| (load.get(&flow).copied().unwrap_or(0), self.turns.get(&flow).copied().unwrap_or(0));
        let (index, _) = candidates.min_by_key(|(_, job)| rank(job.request.flow))?;
        let job = self.waiting.remove(index);
        self.turn += 1;
        self.turns.insert(job.request.flow, self.turn);
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use tcrt::sampling::SamplerOptions;

    use super::*;

    fn job(flow: u64, index: usize) -> Job {
        let request = Request {
            prompt: vec![0],
            max_new: 1,
            sampling: SamplerOptions::greedy(),
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
            shown: Vec::new(),
            held: None,
            logprobs: None,
            prompt_logprobs: false,
            pooling: None,
            deadline: None,
            flow,
        };
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        Job { request, index, events, arrived: Instant::now(), ticket: None }
    }

    #[test]
    fn who_runs_least_is_next_and_among_equals_who_came_first() {
        let mut queue = Queue::default();
        for (index, flow) in [1, 1, 1, 1, 2, 3, 2].into_iter().enumerate() {
            queue.push(job(flow, index));
        }
        let mut running = Vec::new();
        let mut order = Vec::new();
        while let Some(job) = queue.next(running.iter().copied(), |_| true) {
            running.push(job.request.flow);
            order.push(job.index);
        }
        assert_eq!(order, [0, 4, 5, 1, 6, 2, 3]);
    }

    #[test]
    fn flows_take_turns_where_one_place_is_all_there_is() {
        let mut queue = Queue::default();
        for (index, flow) in [1, 1, 1, 2, 2, 3].into_iter().enumerate() {
            queue.push(job(flow, index));
        }
        let order: Vec<usize> =
            std::iter::from_fn(|| queue.next(std::iter::empty(), |_| true)).map(|job| job.index).collect();
        assert_eq!(order, [0, 3, 5, 1, 4, 2]);
        assert!(queue.turns.len() <= 3);
    }

    #[test]
    fn places_are_taken_together_and_given_back() {
        let taken = Arc::new(AtomicUsize::new(0));
        let three = Ticket::take(&taken, 3, 4).unwrap();
        assert!(Ticket::take(&taken, 2, 4).is_none());
        drop(three);
        assert_eq!(Ticket::take(&taken, 4, 4).unwrap().len(), 4);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }
}
