//! x86-64.

pub mod amx;
pub mod avx2;
pub mod avx512;
pub mod avxvnni;
pub mod mirror;
mod numbers;
mod rows;
mod steps;
mod vnni;

use core::arch::asm;
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::ops::Range;

use crate::pack::{Block, Blocks};

/// How far ahead of their use weights are asked for: two pages, since the CPU's own prefetching ends where a page does.
const AHEAD: usize = 8192;
/// Streams that AVX2 reads in turn where one row of inputs waits for the weights: Zen 3's memory gives a core up to a third more by four
/// than by one.
const STREAMS: usize = 4;
/// How far ahead of its use each of them is asked for.
const STREAM_AHEAD: usize = 1024;
/// Blocks of no more bytes are read one after another: models of so few inputs fit the caches, and each four have a beginning and an end.
const NARROW: usize = 4096;
const LINE: usize = 64;

/// While a block comes from memory, asks for as many bytes as these, `AHEAD` of them.
#[inline(always)]
fn prefetch(w: &Block, bytes: &[u8]) {
    prefetch_at(w, bytes.as_ptr().wrapping_add(AHEAD), bytes.len());
}

/// The same where several streams are read in turn.
#[inline(always)]
fn prefetch_stream(w: &Block, first: *const u8, bytes: usize) {
    prefetch_at(w, first.wrapping_add(STREAM_AHEAD), bytes);
}

#[inline(always)]
fn prefetch_at(w: &Block, first: *const u8, bytes: usize) {
    if (first as usize) < w.fetch_end {
        lines(first, bytes);
    }
}

/// What is to be asked for while other work is done.
#[derive(Clone, Copy)]
struct Ahead {
    first: *const u8,
    lines: usize,
}

impl Ahead {
    /// What lies `AHEAD` bytes after a part of a block that comes from memory.
    fn of(w: &Block, part: Range<*const u8>) -> Ahead {
        let first = part.start.wrapping_add(AHEAD);
        let end = w.fetch_end.min(part.end as usize + AHEAD);
        Ahead { first, lines: end.saturating_sub(first as usize).div_ceil(LINE) }
    }

    /// Each `next` of so many asks for an equal part; of none, for nothing.
    #[inline(always)]
    fn in_parts(self, parts: usize) -> AheadParts {
        AheadParts {
            rest: if parts > 0 { self } else { Ahead { lines: 0, ..self } },
            each: self.lines.div_ceil(parts.max(1)),
        }
    }
}

struct AheadParts {
    rest: Ahead,
    each: usize,
}

impl AheadParts {
    #[inline(always)]
    fn next(&mut self) {
        for _ in 0..self.each.min(self.rest.lines) {
            // SAFETY: a prefetch reads nothing that the program could see. (Of the intrinsic, the compiler would make eight at a time, and what
            // finds out how many.)
            unsafe {
                asm!("prefetcht0 byte ptr [{}]", in(reg) self.rest.first, options(nostack, preserves_flags, readonly))
            };
            self.rest = Ahead { first: self.rest.first.wrapping_add(LINE), lines: self.rest.lines - 1 };
        }
    }
}

/// Whether AVX2 reads some blocks as streams for one row of inputs.
fn in_streams(w: &Blocks) -> bool {
    w.size() > NARROW
}

/// Asks for what `prefetch` will not have asked for when a block comes from memory and none before it did.
#[inline(never)]
fn prefetch_first(w: &Blocks) {
    lines_of(w, AHEAD);
}

/// The same for streams.
#[inline(never)]
fn prefetch_streams(w: Blocks) {
    for first in w.streams::<STREAMS>() {
        lines_of(&w.from(first), STREAM_AHEAD);
    }
}

/// The first `most` bytes, if they come from memory.
#[inline(always)]
fn lines_of(w: &Blocks, most: usize) {
    let first = w.bytes().as_ptr();
    lines(first, most.min(w.fetch_end().saturating_sub(first as usize)));
}

#[inline(always)]
fn lines(first: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(LINE) {
        // SAFETY: SSE is part of x86-64, and a prefetch reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(line).cast()) };
    }
}
