//! Attention with a running softmax over the cache's blocks, generic over the instruction set.
//!
//! The context is cut into segments of `SEGMENT` positions. Within one, after each block: `most` the largest score so far, `total`
//! the sum of `2^(score - most)`, `y` the sum of `2^(score - most) v`, with scores times log2(e); where `most` grows, the others are multiplied by
//! `2^(old - new)`. Segments are joined in order by the same rule. So it does not matter who computes a segment, nor with
//! which tokens: a query's result is the same to the bit.
//!
//! All queries of a tile (some tokens, and the heads that share the KV head) visit a block together. Where they are many, its
//! elements become f32 once for all of them.
//!
//! Functions here are generic, so they carry no `#[target_feature]`: they are always inlined into ones that do.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by loops that unroll")]

mod block;
mod lanes;

pub use lanes::{Cell, EXP2, Lanes, SixByTwo, ThreeByFour, Work};

use crate::abi::{KV_BLOCK, Partial};
use crate::cpu::cached::{Heads, KvBlock, bytes, each_element, segments, spans};
use crate::cpu::cut;
use block::{Scores, Soften, Widen, rescale, scores, weigh};
use core::f32::consts::LOG2_E;
use core::mem::MaybeUninit;

/// The largest score where there is none: less than any, but a number, whose differences are numbers.
const NOTHING: f32 = f32::MIN;

/// One token's queries, or few tokens'.
type Few = Sums<8, 1024, 0>;
/// Queries that share a visit of the cache, of heads of up to 256: as many as whole tokens of up to 6 heads make, and as the products of six
/// at a time leave none of.
type Many = Sums<60, 8192, { 256 * KV_BLOCK }>;

/// Whether `attention` can be used for heads of this size.
pub fn fits<L: Lanes>(head_dim: usize) -> bool {
    head_dim.is_multiple_of(L::WIDTH) && head_dim <= Few::VALUES
}

/// Tokens of one KV head.
#[inline(always)]
pub fn attention<L: Lanes>(l: L, tokens: &mut [Heads]) {
    for tokens in tokens.chunk_by_mut(|a, b| a.cache.same_sequence(&b.cache)) {
        each_element!(tokens[0].cache.kind, E => sequence::<L, E>(l, tokens));
    }
}

/// Tokens of one sequence.
#[inline(always)]
fn sequence<L: Lanes, E: Cell>(l: L, tokens: &mut [Heads]) {
    let &Heads { count, head_dim, .. } = &tokens[0];
    if tokens.len() * count <= Few::queries(head_dim) || !Many::widens(head_dim) {
        Few::new().sequence::<L, E>(l, tokens, count, head_dim);
    } else {
        Many::new().sequence::<L, E>(l, tokens, count, head_dim);
    }
}

/// The queries of heads `first..first + heads` of some tokens: token `t`'s head `h` is query `t * heads + h`.
struct Tile<'t, 'a> {
    tokens: &'t mut [Heads<'a>],
    first: usize,
    heads: usize,
    head_dim: usize,
}

/// For each of up to `Q` queries, what a segment's blocks so far add up to, and its scores in the block at hand.
struct Sums<const Q: usize, const VALUES: usize, const WIDE: usize> {
    most: [f32; Q],
    total: [f32; Q],
    shrink: [f32; Q],
    /// The token and the head of each query.
    owners: [(u32, u32); Q],
    /// The segments before.
    sums: [Partial; Q],
    scores: Scores<Q>,
    /// `[queries][head_dim]`
    y: [MaybeUninit<f32>; VALUES],
    /// A block's keys, then its values.
    wide: [MaybeUninit<f32>; WIDE],
}

impl<'a> Tile<'_, 'a> {
    fn queries(&self) -> usize {
        self.tokens.len() * self.heads
    }
}

impl<const Q: usize, const VALUES: usize, const WIDE: usize> Sums<Q, VALUES, WIDE> {
    const VALUES: usize = VALUES;

    fn new() -> Self {
        Sums {
            most: [0.0; Q],
            total: [0.0; Q],
            shrink: [0.0; Q],
            owners: [(0, 0); Q],
            sums: [Partial::NONE; Q],
            scores: [[0.0; KV_BLOCK]; Q],
            y: [const { MaybeUninit::uninit() }; VALUES],
            wide: [const { MaybeUninit::uninit() }; WIDE],
        }
    }

    /// Whether a block becomes f32 first.
    fn widens(head_dim: usize) -> bool {
        (1..=WIDE).contains(&(head_dim * KV_BLOCK))
    }

    /// Queries that there is room for.
    fn queries(head_dim: usize) -> usize {
        Q.min(VALUES / head_dim)
    }

    /// As many tokens and heads at a time as there is room for.
    #[inline(always)]
    fn sequence<L: Lanes, E: Cell>(&mut self, l: L, tokens: &mut [Heads], count: usize, head_dim: usize) {
        let most = Self::queries(head_dim);
        for tokens in tokens.chunks_mut((most / count).max(1)) {
            for first in (0..count).step_by(most) {
                self.attend::<L, E>(l, Tile { tokens, first, heads: most.min(count - first), head_dim });
            }
        }
    }

    #[inline(always)]
    fn attend<L: Lanes, E: Cell>(&mut self, l: L, mut tile: Tile) {
        // A token's view of the cache ends with the token.
        let Some(&Heads { cache, end, .. }) = tile.tokens.iter().max_by_key(|token| token.end) else { return };
        let begin = tile.tokens.iter().map(|token| token.begin).min().unwrap_or(end);
        let (mut queries, mut i): ([&[f32]; Q], _) = ([&[]; Q], 0);
        for t in 0..tile.tokens.len() {
            for head in tile.first..tile.first + tile.heads {
                queries[i] = &tile.tokens[t].q()[head * tile.head_dim..][..tile.head_dim];
                self.owners[i] = (t as u32, head as u32);
                i += 1;
            }
        }
        let queries = &queries[..tile.queries()];
        for (begin, end) in segments(begin, end) {
            self.most.fill(NOTHING);
            self.total.fill(0.0);
            self.y[..tile.queries() * tile.head_dim].fill(MaybeUninit::new(0.0));
            let mut spans = spans(begin, end).peekable();
            while let Some((begin, end)) = spans.next() {
                let next = spans.peek().map(|&(begin, end)| cache.block(begin).keys(end - begin));
                self.visit::<L, E>(l, (&tile, queries), cache.block(begin), next, begin, end);
            }
            self.join(l, &mut tile, begin, end);
        }
        self.finish(l, &mut tile);
    }

    /// All queries' step over positions `begin..end` of one block.
    #[inline(always)]
    fn visit<L: Lanes, E: Cell>(
        &mut self,
        l: L,
        (tile, queries): (&Tile, &[&[f32]]),
        block: KvBlock<E>,
        next: Option<&[E]>,
        begin: usize,
        end: usize,
    ) {
        let positions = begin % KV_BLOCK..(end - 1) % KV_BLOCK + 1;
        let scale = tile.tokens[0].scale * LOG2_E;
        let ahead = bytes(block.values(&positions));
        if const { WIDE > 0 } {
            let k = widened(l, block.k, &mut self.wide);
            scores(l, queries, scale, k, ahead, &positions, &mut self.scores);
        } else {
            scores(l, queries, scale, block.k, ahead, &positions, &mut self.scores);
        }
        rescale(l, &mut self.scores[..queries.len()], block.k_scales);
        self.soften(l, tile, begin, end);
        rescale(l, &mut self.scores[..queries.len()], block.v_scales);
        // SAFETY: `attend`, which alone calls this, has filled those of all the tile's queries.
        let y = unsafe { filled(&mut self.y[..queries.len() * tile.head_dim]) };
        let ahead = next.map_or(&[][..], bytes);
        if const { WIDE > 0 } {
            let v = widened(l, block.v, &mut self.wide);
            weigh(l, &self.scores, v, ahead, &positions, &self.shrink, y);
        } else {
            weigh(l, &self.scores, block.v, ahead, &positions, &self.shrink, y);
        }
    }

    /// Turns scores into weights, zero for what a query does not see.
    #[inline(always)]
    fn soften<L: Lanes>(&mut self, l: L, tile: &Tile, begin: usize, end: usize) {
        let (first, count) = (begin / KV_BLOCK * KV_BLOCK, tile.queries());
        for i in 0..count {
            let token = &tile.tokens[self.owners[i].0 as usize];
            let (from, to) = (token.begin.clamp(begin, end), token.end.clamp(begin, end));
            if from > first {
                self.scores[i][..from - first].fill(f32::NEG_INFINITY);
            }
            if to.max(from) < first + KV_BLOCK {
                self.scores[i][to.max(from) - first..].fill(f32::NEG_INFINITY);
            }
        }
        l.call(Soften {
            scores: &mut self.scores[..count],
            most: &mut self.most[..count],
            total: &mut self.total[..count],
            shrink: &mut self.shrink[..count],
        });
    }

    /// Adds the segment `begin..end` to what came before.
    #[inline(always)]
    fn join<L: Lanes>(&mut self, l: L, tile: &mut Tile, begin: usize, end: usize) {
        let head_dim = tile.head_dim;
        for i in 0..tile.queries() {
            let (t, head) = self.owners[i];
            let (token, head) = (&mut tile.tokens[t as usize], head as usize);
            if token.begin >= end || token.end <= begin {
                continue;
            }
            let part = Partial { most: self.most[i], total: self.total[i] };
            // SAFETY: `attend`, which alone calls this, has filled those of all the tile's queries.
            let y = unsafe { filled(&mut self.y[i * head_dim..][..head_dim]) };
            let first = token.begin >= begin;
            let out = token.y_of(head);
            if first {
                self.sums[i] = part;
                out.copy_from_slice(y);
            } else {
                add_part(l, &mut self.sums[i], out, part, y);
            }
        }
    }

    /// Gives the sums to who joins them, or the result where they are the whole context's.
    #[inline(always)]
    fn finish<L: Lanes>(&self, l: L, tile: &mut Tile) {
        for i in 0..tile.queries() {
            let (t, head) = self.owners[i];
            let (token, head) = (&mut tile.tokens[t as usize], head as usize);
            match token.sum_of(head) {
                Some(sum) => *sum = self.sums[i],
                None => divide(l, token.y_of(head), self.sums[i].total),
            }
        }
    }
}

/// The result of what all segments have left.
#[inline(always)]
pub fn join<L: Lanes>(l: L, mut heads: Heads, sums: cut::Sums) {
    for head in 0..heads.count {
        let mut whole: Option<Partial> = None;
        let y = heads.y_of(head);
        for (part_y, part) in sums.of(head) {
            match &mut whole {
                Some(sum) => add_part(l, sum, y, part, part_y),
                None => {
                    y.copy_from_slice(part_y);
                    whole = Some(part);
                }
            }
        }
        divide(l, y, whole.map_or(1.0, |sum| sum.total));
    }
}

/// # Safety
/// All have been written.
#[inline(always)]
unsafe fn filled(y: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    // SAFETY: promised by the caller.
    unsafe { core::slice::from_raw_parts_mut(y.as_mut_ptr().cast(), y.len()) }
}

/// Elements as f32.
#[inline(always)]
fn widened<'a, L: Lanes, E: Cell>(l: L, from: &[E], to: &'a mut [MaybeUninit<f32>]) -> &'a [f32] {
    let to = &mut to[..from.len()];
    l.call(Widen { from, to });
    // SAFETY: `Widen` has written all of them.
    unsafe { core::slice::from_raw_parts(to.as_ptr().cast(), to.len()) }
}

/// What two parts of a context, one after the other, make together.
#[inline(always)]
pub fn add_part<L: Lanes>(l: L, sum: &mut Partial, y: &mut [f32], part: Partial, part_y: &[f32]) {
    let most = sum.most.max(part.most);
    let (old, new) = (l.exp2(l.splat(sum.most - most)), l.exp2(l.splat(part.most - most)));
    let total = l.fma(l.splat(part.total), new, l.mul(l.splat(sum.total), old));
    *sum = Partial { most, total: l.largest(total) };
    for (y, part_y) in y.chunks_exact_mut(L::WIDTH).zip(part_y.chunks_exact(L::WIDTH)) {
        let grown = l.mul(l.load(part_y), new);
        l.store(y, l.fma(l.load(y), old, grown));
    }
}

/// `y / total`
#[inline(always)]
pub fn divide<L: Lanes>(l: L, y: &mut [f32], total: f32) {
    let inverse = l.splat(1.0 / total);
    for y in y.chunks_exact_mut(L::WIDTH) {
        l.store(y, l.mul(l.load(y), inverse));
    }
}
