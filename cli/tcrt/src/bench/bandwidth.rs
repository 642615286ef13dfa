//! How fast the memory reads.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use tcrt::sys::default_threads;

use super::samples::Samples;

/// Far more than any cache.
const BYTES: usize = 512 << 20;

/// A buffer to read with all threads.
pub struct Reader {
    data: Vec<u64>,
    threads: usize,
}

impl Reader {
    pub fn new(threads: Option<usize>) -> Reader {
        // Ones, not zeros: untouched zeros are one and the same page of memory.
        Reader { data: vec![1; BYTES / 8], threads: threads.filter(|n| *n > 0).unwrap_or_else(default_threads) }
    }

    /// Bytes a second, once through the buffer.
    pub fn rate(&self) -> f64 {
        let barrier = Barrier::new(self.threads);
        let slowest = thread::scope(|scope| {
            let parts = self.data.chunks(self.data.len().div_ceil(self.threads));
            let readers: Vec<_> = parts.map(|part| scope.spawn(|| read(part, &barrier))).collect();
            readers.into_iter().filter_map(|reader| reader.join().ok()).max()
        });
        BYTES as f64 / slowest.unwrap_or(Duration::MAX).as_secs_f64()
    }

    pub fn samples(&self, count: usize) -> Samples {
        self.rate();
        Samples::new((0..count).map(|_| self.rate()).collect())
    }
}

/// Places that a thread reads at in turn: the CPU fetches ahead for each, but not beyond the end of a page.
const STREAMS: usize = 4;
/// Of u64: two cache lines.
const STEP: usize = 16;

fn read(part: &[u64], barrier: &Barrier) -> Duration {
    let mut streams = part.chunks_exact(part.len() / STREAMS).map(|stream| stream.as_chunks::<STEP>().0.iter());
    let mut streams: [_; STREAMS] = std::array::from_fn(|_| streams.next().unwrap_or_default());
    barrier.wait();
    let begin = Instant::now();
    let mut sums = [0u64; STEP];
    for _ in 0..part.len() / STREAMS / STEP {
        for chunk in streams.iter_mut().filter_map(Iterator::next) {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*value);
            }
        }
    }
    black_box(sums);
    begin.elapsed()
}
