//! x86-64.

pub mod avx2;
pub mod avx512;
pub mod avxvnni;
pub mod mirror;
mod numbers;
mod rows;
mod vnni;

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use crate::pack::Block;

/// How far ahead of their use weights are asked for: two pages, since the CPU's own prefetching ends where a page does.
const AHEAD: usize = 8192;

/// While a block comes from memory, asks for as many bytes as these, `AHEAD` of them.
#[inline(always)]
fn prefetch(w: &Block, bytes: &[u8]) {
    if bytes.as_ptr() as usize + AHEAD < w.fetch_end {
        lines(bytes.as_ptr().wrapping_add(AHEAD), bytes.len());
    }
}

/// Asks for what `prefetch` will not have asked for when a block comes from memory and none before it did.
fn prefetch_first(w: &Block) {
    lines(w.bytes.as_ptr(), AHEAD.min(w.fetch_end.saturating_sub(w.bytes.as_ptr() as usize)));
}

#[inline(always)]
fn lines(first: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: SSE is part of x86-64, and a prefetch reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(line).cast()) };
    }
}
