//! Who does which task, and when all are done: what the threads of a team share while they run a schedule.

use super::crowd::{Crowd, Turn};
use super::progress::Progress;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out the tasks of a schedule's steps in portions, and counts those that are done. Each thread has a share of every step's
/// portions, which it takes from a counter that is nobody else's while all keep pace; who is through with a share takes from the others'.
/// A thread that comes late takes no task of a call that is over: the counters bear the call's number.
pub struct Handout {
    /// For each step and thread, the number of the last call that came to it above the first portion of the share that nobody has taken.
    next: Vec<Next>,
    /// What each thread has done and not said yet.
    unsaid: Vec<Unsaid>,
    spins: u32,
    /// Tasks done, over all calls.
    done: Progress,
    crowd: Crowd,
}

/// Written and read by one thread alone, on its own cache line.
#[repr(align(64))]
#[derive(Default)]
struct Unsaid {
    tasks: AtomicU64,
    /// Nobody waits for fewer tasks over all calls because of these.
    upto: AtomicU64,
    turn: Turn,
}

/// Alone on its cache line, so that threads in different shares or steps do not slow each other down.
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
        let next = (0..steps * threads as usize).map(|_| Next::default()).collect();
        let unsaid = (0..threads).map(|_| Unsaid::default()).collect();
        Handout { next, unsaid, spins, done: Progress::default(), crowd: Crowd::new(threads) }
    }

    pub fn threads(&self) -> u32 {
        self.unsaid.len() as u32
    }

    pub fn spins(&self) -> u32 {
        self.spins
    }

    /// Begins a call, whose number must be one more than the last one's, all of whose tasks are done.
    pub fn begin(&self, number: u32) -> Round {
        self.crowd.begin();
        Round { number: u64::from(number) << 32, before: self.done.now() }
    }

    /// The first of the next `portion` of a step's tasks; none when all are taken or the call is over. In a call, all threads must
    /// name the same `tasks` and `portion` for a step.
    pub fn take(&self, round: &Round, thread: u32, step: usize, tasks: u32, portion: u32) -> Option<u32> {
        self.make_way(thread);
        let threads = self.threads();
        let portions = u64::from(tasks.div_ceil(portion.max(1)));
        let shares = self.next.get(step * threads as usize..)?.get(..threads as usize)?;
        let take = |owner: u32| {
            let border = |owner: u32| (u64::from(owner) * portions).div_ceil(u64::from(threads));
            round.take(&shares[owner as usize].0, border(owner)..border(owner + 1))
        };
        let first = take(thread).or_else(|| {
            self.say(thread);
            (thread + 1..threads).chain(0..thread).find_map(take)
        });
        first.map(|first| first as u32 * portion)
    }

    /// Yields to other programs where it is time to; the thread holds no task.
    #[inline]
    fn make_way(&self, thread: u32) {
        let turn = &self.unsaid[thread as usize].turn;
        if self.crowd.is_over(turn) {
            self.say(thread);
            self.crowd.make_way(thread, turn);
        }
    }

    /// `tasks` are done, of the call's first `upto`, for which somebody may wait. The others learn it when the thread is through with its
    /// share or waits itself: before that they would wait for the rest of the share anyway.
    pub fn done(&self, round: &Round, thread: u32, tasks: u32, upto: u64) {
        let Unsaid { tasks: unsaid, upto: most, .. } = &self.unsaid[thread as usize];
        unsaid.store(unsaid.load(Ordering::Relaxed) + u64::from(tasks), Ordering::Relaxed);
        most.store(round.before + upto, Ordering::Relaxed);
    }

    /// Lets the others know what a thread has done.
    pub fn say(&self, thread: u32) {
        let Unsaid { tasks, upto, .. } = &self.unsaid[thread as usize];
        let said = tasks.load(Ordering::Relaxed);
        if said > 0 {
            tasks.store(0, Ordering::Relaxed);
            self.done.add(said, upto.load(Ordering::Relaxed));
        }
    }

    /// Returns once the call's first `upto` tasks are done.
    pub fn wait(&self, round: &Round, thread: u32, upto: u64) {
        self.say(thread);
        self.crowd.waited(self.done.wait(round.before + upto, self.spins));
    }
}

impl Round {
    /// The first portion of a share that nobody has taken.
    fn take(&self, next: &AtomicU64, share: Range<u64>) -> Option<u64> {
        // What an earlier call left in the counter is none of this call's portions; a later call's number says that this one is over.
        // Numbers wrap; no thread is 2^31 calls late.
        let first = |now: u64| match (now.wrapping_sub(self.number) >> 32) as i32 {
            0 => Some(now & u64::from(u32::MAX)).filter(|first| share.contains(first)),
            1.. => None,
            ..0 => Some(share.start).filter(|first| share.contains(first)),
        };
        let taken = |now: u64| first(now).map(|first| self.number + first + 1);
        first(next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn all(handout: &Handout, round: &Round, thread: u32, tasks: u32, portion: u32) -> Vec<u32> {
        let firsts = std::iter::from_fn(|| handout.take(round, thread, 0, tasks, portion));
        firsts.flat_map(|first| first..tasks.min(first + portion)).collect()
    }

    #[test]
    fn each_task_is_given_out_once_and_all_are_seen_done() {
        for (threads, tasks, portion) in [(1, 7, 7), (2, 1, 1), (3, 100, 3), (4, 3, 1), (4, 0, 1), (3, 50, 49)] {
            let handout = Handout::new(1, threads, 10);
            for call in 1..50 {
                let (round, given) = (handout.begin(call), Mutex::new(Vec::<u32>::new()));
                let work = |thread| {
                    let mine = all(&handout, &round, thread, tasks, portion);
                    given.lock().unwrap().extend(&mine);
                    handout.done(&round, thread, mine.len() as u32, u64::from(tasks));
                    handout.wait(&round, thread, u64::from(tasks));
                    let mut seen = given.lock().unwrap().clone();
                    seen.sort_unstable();
                    assert!(seen.into_iter().eq(0..tasks));
                };
                std::thread::scope(|scope| (0..threads).for_each(|thread| drop(scope.spawn(move || work(thread)))));
            }
        }
    }

    #[test]
    fn who_comes_alone_gets_all_and_who_comes_late_nothing() {
        let handout = Handout::new(1, 3, 0);
        let first = handout.begin(1);
        let mut given = all(&handout, &first, 1, 20, 4);
        given.sort_unstable();
        assert!(given.into_iter().eq(0..20));
        handout.done(&first, 1, 20, 20);
        handout.wait(&first, 1, 20);
        assert_eq!(all(&handout, &first, 2, 20, 4), []);
        let second = handout.begin(2);
        assert_eq!(handout.take(&second, 0, 0, 20, 4), Some(0));
        assert_eq!(handout.take(&first, 0, 0, 20, 4), None);
        assert_eq!(all(&handout, &second, 2, 20, 4).len(), 16);
    }

    #[test]
    fn who_yields_in_a_crowd_has_said_what_is_done() {
        let handout = Handout::new(1, 1, 0);
        let round = handout.begin(1);
        let take_in_a_crowd = || {
            std::thread::sleep(std::time::Duration::from_millis(3));
            handout.crowd.stays();
            handout.take(&round, 0, 0, 4, 1)
        };
        assert_eq!(take_in_a_crowd(), Some(0));
        handout.done(&round, 0, 1, 4);
        assert_eq!(handout.done.now(), 0);
        assert_eq!(take_in_a_crowd(), Some(1));
        assert_eq!(handout.done.now(), 1);
    }
}
