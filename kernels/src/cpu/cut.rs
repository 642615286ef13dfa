//! One token's context, cut into segments that any thread may take: KV heads alone may be too few for all threads. A segment's sums go
//! to memory that comes with the call; who is done with a KV head's last segment joins them all. They are joined in order, so the result
//! is the uncut context's to the bit, but for the scalar kernel, which sums an uncut one at once.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use super::cached::{Heads, segments};
use crate::abi::{AttentionArgs, Call, Partial, SEGMENT};

/// What counters and each segment's sums begin at a multiple of.
const ALIGN: usize = 64;

/// Whether so many KV heads leave threads without work for more than an eighth of the time.
pub fn is_worth_it(kv_heads: usize, threads: usize) -> bool {
    let turns = kv_heads.div_ceil(threads.max(1));
    8 * turns * threads > 9 * kv_heads
}

/// Bytes for the segments of a context of so many positions.
pub fn bytes(heads: usize, kv_heads: usize, head_dim: usize, context: usize) -> usize {
    counter_bytes(kv_heads) + kv_heads * context.div_ceil(SEGMENT) * segment_bytes(heads / kv_heads, head_dim)
}

/// For each KV head, how many of its segments are done.
fn counter_bytes(kv_heads: usize) -> usize {
    (kv_heads * size_of::<AtomicU32>()).next_multiple_of(ALIGN)
}

/// Sums of one segment for the query heads of a KV head.
fn segment_bytes(heads: usize, head_dim: usize) -> usize {
    (heads * (head_dim * size_of::<f32>() + size_of::<Partial>())).next_multiple_of(ALIGN)
}

/// The segments of the only token's context. Its tasks are one KV head's segments after the other's.
#[derive(Clone, Copy)]
pub struct Cut {
    begin: usize,
    end: usize,
    kv_heads: usize,
}

/// What the segments of a KV head's context add up to.
pub struct Sums<'a> {
    bytes: &'a [u8],
    heads: usize,
    head_dim: usize,
}

impl Cut {
    /// None where the call's contexts are not cut. Reads the call's own numbers alone.
    pub fn of(args: &AttentionArgs, call: &Call) -> Option<Cut> {
        let end = call.seen as usize;
        let begin = if args.window > 0 { end.saturating_sub(args.window as usize) } else { 0 };
        (end > 0).then_some(Cut { begin, end, kv_heads: args.kv_heads as usize })
    }

    /// Of a KV head.
    fn segments(&self) -> usize {
        self.end.div_ceil(SEGMENT) - self.begin / SEGMENT
    }

    pub fn tasks(&self) -> u32 {
        (self.kv_heads * self.segments()) as u32
    }

    /// What `attention` is to do for a task.
    ///
    /// # Safety
    /// As for `Heads::new`.
    pub unsafe fn task<'a>(&self, args: &AttentionArgs, call: &'a Call, task: usize) -> Heads<'a> {
        let (head, segment) = (task / self.segments(), task % self.segments());
        // SAFETY: the caller's promise; the only token's tasks are its KV heads, and a segment's sums are its task's alone until it is done.
        unsafe {
            let heads = Heads::new(args, call, head);
            let y = call.sums.add(self.place(&heads, head, segment)).cast::<f32>();
            let range = segments(self.begin, self.end).nth(segment).unwrap_or((self.begin, self.end));
            heads.part(range, y, y.add(heads.count * heads.head_dim).cast())
        }
    }

    /// Byte at which a segment's sums begin.
    fn place(&self, heads: &Heads, head: usize, segment: usize) -> usize {
        let index = head * self.segments() + segment;
        counter_bytes(self.kv_heads) + index * segment_bytes(heads.count, heads.head_dim)
    }

    /// Counts a task as done. Gives the query heads with the sums of all their segments where it was the last of these.
    ///
    /// # Safety
    /// As for `task`, whose sums have been written.
    pub unsafe fn done<'a>(&self, args: &AttentionArgs, call: &'a Call, task: usize) -> Option<(Heads<'a>, Sums<'a>)> {
        let (segments, head) = (self.segments(), task / self.segments());
        // SAFETY: counters are there for all KV heads, and nothing else is done to them while calls run.
        let counter = unsafe { AtomicU32::from_ptr(call.sums.cast::<u32>().add(head)) };
        // Sums are written before they count, and read after all have.
        if counter.fetch_add(1, Ordering::AcqRel) + 1 < segments as u32 {
            return None;
        }
        // The barrier before the next instruction that cuts contexts lies between this and what it counts.
        counter.store(0, Ordering::Relaxed);
        // SAFETY: the caller's promise; all of the head's segments are done, and their sums lie one after the other.
        unsafe {
            let heads = Heads::new(args, call, head);
            let bytes = segments * segment_bytes(heads.count, heads.head_dim);
            let sums = core::slice::from_raw_parts(call.sums.add(self.place(&heads, head, 0)), bytes);
            Some((heads, Sums { bytes: sums, heads: heads.count, head_dim: heads.head_dim }))
        }
    }
}

impl Sums<'_> {
    /// Of one query head, segment by segment: the sums, and what else there is to say of them.
    pub fn of(&self, head: usize) -> impl Iterator<Item = (&[f32], Partial)> {
        let y = head * self.head_dim..(head + 1) * self.head_dim;
        let partials = self.heads * self.head_dim;
        self.bytes.chunks_exact(segment_bytes(self.heads, self.head_dim)).map(move |segment| {
            let floats = floats(segment);
            let partial = &floats[partials + 2 * head..][..2];
            (&floats[Range::clone(&y)], Partial { most: partial[0], total: partial[1] })
        })
    }
}

fn floats(bytes: &[u8]) -> &[f32] {
    // SAFETY: any bytes are numbers, and `align_to` gives those that lie as they must: here all.
    let (_, floats, _) = unsafe { bytes.align_to() };
    floats
}
