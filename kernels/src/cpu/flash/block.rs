//! What some queries do with one block of the cache.

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::abi::{KV_BLOCK, KV_TILE};

use super::lanes::{Cell, Lanes, SixByTwo, ThreeByFour, Work};

/// Inputs or positions whose products are one piece of code, and between two times that something is asked for ahead. Heads are
/// multiples of it.
const TURN: usize = 8;

/// `0..TURN`, unrolled for few queries. Unrolled for many, the compiler would interleave products for which there are too few registers.
#[inline(always)]
fn turn<const N: usize>() -> Range<usize> {
    if const { N < 4 } { 0..TURN } else { black_box(0..TURN) }
}

/// What will be read next, asked for in as many steps as there is work meanwhile.
struct Ahead<'a> {
    bytes: &'a [u8],
    each: usize,
}

impl<'a> Ahead<'a> {
    #[inline(always)]
    fn new(bytes: &'a [u8], steps: usize) -> Self {
        Ahead { bytes, each: bytes.len().div_ceil(steps) }
    }

    #[inline(always)]
    fn step<L: Lanes>(&mut self, l: L) {
        let (now, later) = self.bytes.split_at(self.each.min(self.bytes.len()));
        now.iter().step_by(64).for_each(|byte| l.prefetch(byte));
        self.bytes = later;
    }
}

/// Elements become f32, in the order in which they lie; a multiple of a vector's.
pub struct Widen<'a, E> {
    pub from: &'a [E],
    pub to: &'a mut [MaybeUninit<f32>],
}

impl<E: Cell> Work for Widen<'_, E> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for (from, to) in self.from.chunks_exact(L::WIDTH).zip(self.to.chunks_exact_mut(L::WIDTH)) {
            l.store_new(to, E::load(l, from));
        }
    }
}

/// Of each query and each position of a block.
pub type Scores<const Q: usize> = [[f32; KV_BLOCK]; Q];

/// `$sums[i][v] += $a * $b` for all `i` and `v`, with the fewer of the factors in registers.
macro_rules! outer {
    ($l:ident, $sums:ident, $n:ident, $v:ident, $i:ident => $a:expr, $j:ident => $b:expr) => {
        if const { $n < $v } {
            let mut factors = [$l.splat(0.0); $n];
            for $i in 0..$n {
                factors[$i] = $a;
            }
            for $j in 0..$v {
                let b = $b;
                for i in 0..$n {
                    $sums[i][$j] = $l.fma(factors[i], b, $sums[i][$j]);
                }
            }
        } else {
            let mut factors = [$l.splat(0.0); $v];
            for $j in 0..$v {
                factors[$j] = $b;
            }
            for $i in 0..$n {
                let a = $a;
                for v in 0..$v {
                    $sums[$i][v] = $l.fma(a, factors[v], $sums[$i][v]);
                }
            }
        }
    };
}

/// `scores[i][p] = scale * q_i · k_p` for all vectors of positions that touch `positions`, and some more; what lies at positions that were never
/// written is arbitrary.
#[inline(always)]
pub fn scores<L: Lanes, E: Cell, const Q: usize>(
    l: L,
    queries: &[&[f32]],
    scale: f32,
    k: &[E],
    ahead: &[u8],
    positions: &Range<usize>,
    out: &mut Scores<Q>,
) {
    let mut i = 0;
    while i < queries.len() {
        // The first few ask for what all will read.
        let ahead = if i == 0 { ahead } else { &[] };
        let part = Dots { queries: &queries[i..], scale, k, ahead, positions, out: &mut out[i..] };
        i += match queries.len() - i {
            1 => part.of::<L, 1, 4, 8>(l),
            2 => part.of::<L, 2, 4, 4>(l),
            3 => part.of::<L, 3, 4, 4>(l),
            4 | 5 => part.of::<L, 4, 4, 2>(l),
            _ => part.of::<L, 6, 4, 2>(l),
        };
    }
}

/// The scores of the next few queries.
struct Dots<'a, E> {
    queries: &'a [&'a [f32]],
    scale: f32,
    k: &'a [E],
    ahead: &'a [u8],
    positions: &'a Range<usize>,
    out: &'a mut [[f32; KV_BLOCK]],
}

/// Of the first `N` queries, `V` vectors of positions at a time.
struct SomeDots<'a, E, const N: usize, const V: usize>(Dots<'a, E>);

impl<E: Cell> Dots<'_, E> {
    /// The first `N` queries, as many vectors at a time as the registers hold; returns `N`.
    #[inline(always)]
    fn of<L: Lanes, const N: usize, const MANY: usize, const FEW: usize>(self, l: L) -> usize {
        if const { L::MANY } {
            l.call(SomeDots::<E, N, MANY>(self));
        } else {
            l.call(SomeDots::<E, N, FEW>(self));
        }
        N
    }
}

impl<E: Cell, const N: usize, const V: usize> Work for SomeDots<'_, E, N, V> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let width = V * L::WIDTH;
        let (begin, end) = (self.0.positions.start / width, self.0.positions.end.div_ceil(width));
        let mut ahead = Ahead::new(self.0.ahead, (end - begin) * self.0.queries[0].len().div_ceil(TURN));
        for j in begin..end {
            let mut sums = [[l.splat(0.0); V]; N];
            self.add(l, j * V, &mut ahead, &mut sums);
            for i in 0..N {
                for v in 0..V {
                    let scores = &mut self.0.out[i][(j * V + v) * L::WIDTH..][..L::WIDTH];
                    l.store(scores, l.mul(sums[i][v], l.splat(self.0.scale)));
                }
            }
        }
    }
}

impl<E: Cell, const N: usize, const V: usize> SomeDots<'_, E, N, V> {
    /// Vectors `j..j + V`.
    #[inline(always)]
    fn add<L: Lanes>(&self, l: L, j: usize, ahead: &mut Ahead, sums: &mut [[L::V; V]; N]) {
        let head_dim = self.0.queries[0].len();
        let mut queries: [&[f32]; N] = [&[]; N];
        for i in 0..N {
            queries[i] = &self.0.queries[i][..head_dim];
        }
        let tile = KV_TILE * head_dim;
        if by_hand(l, &queries, Columns { of: &self.0.k[j * tile..], apart: tile, stride: KV_TILE }, ahead, sums) {
            return;
        }
        let each = L::WIDTH / KV_TILE;
        let mut tiles: [[&[[E; KV_TILE]]; 2]; V] = [[&[]; 2]; V];
        for v in 0..V {
            for t in 0..2 {
                let tile = (j + v) * each + t.min(each - 1);
                tiles[v][t] = &self.0.k.as_chunks().0[tile * head_dim..][..head_dim];
            }
        }
        for c in 0..head_dim / TURN {
            ahead.step(l);
            let mut q: [&[f32; TURN]; N] = [&[0.0; TURN]; N];
            for i in 0..N {
                q[i] = &queries[i].as_chunks().0[c];
            }
            let mut k: [[&[[E; KV_TILE]; TURN]; 2]; V] = [[&tiles[0][0].as_chunks().0[c]; 2]; V];
            for v in 0..V {
                k[v] = [&tiles[v][0].as_chunks().0[c], &tiles[v][1].as_chunks().0[c]];
            }
            for d in turn::<N>() {
                outer!(l, sums, N, V, i => l.splat(q[i][d]), v => E::tiles(l, [&k[v][0][d], &k[v][1][d]]));
            }
        }
    }
}

/// Columns of vectors, `apart` elements from each other, whose vectors are a stride apart.
struct Columns<'a, E> {
    of: &'a [E],
    apart: usize,
    stride: usize,
}

/// Adds the products of rows and columns where the instruction set has code for so many; whether it has.
#[inline(always)]
fn by_hand<L: Lanes, E: Cell, const N: usize, const V: usize>(
    l: L,
    rows: &[&[f32]; N],
    Columns { of, apart, stride }: Columns<E>,
    ahead: &mut Ahead,
    sums: &mut [[L::V; V]; N],
) -> bool {
    let (Some(sums), length) = (sums.as_flattened_mut().first_chunk_mut(), rows[0].len()) else { return false };
    if const { L::SIX_BY_TWO && N == 6 && V == 2 }
        && let (Some(a), Some(b)) = (rows.first_chunk(), E::floats(of))
    {
        (0..length / TURN).for_each(|_| ahead.step(l));
        l.six_by_two(SixByTwo { a: *a, b: [b, &b[apart..]], stride }, sums);
        return true;
    }
    if const { L::THREE_BY_FOUR && N == 3 && V == 4 }
        && let (Some([a0, a1, a2]), Some(b)) = (rows.first_chunk(), E::halves(of))
    {
        for begin in (0..length).step_by(TURN) {
            ahead.step(l);
            let turn = begin..length.min(begin + TURN);
            let b = &b[begin * stride..];
            let b = [b, &b[apart..], &b[2 * apart..], &b[3 * apart..]];
            l.three_by_four(ThreeByFour { a: [&a0[turn.clone()], &a1[turn.clone()], &a2[turn]], b, stride }, sums);
        }
        return true;
    }
    false
}

/// Multiplies what belongs to a position by the position's scale, where there are scales. They are arbitrary where nothing was written.
#[inline(always)]
pub fn rescale<L: Lanes>(l: L, scores: &mut [[f32; KV_BLOCK]], scales: &[f32]) {
    if scales.is_empty() {
        return;
    }
    for scores in scores {
        for (scores, scales) in scores.chunks_exact_mut(L::WIDTH).zip(scales.chunks_exact(L::WIDTH)) {
            l.store(scores, l.mul(l.load(scores), l.load(scales)));
        }
    }
}

/// Turns queries' scores into weights and updates their sums, and by what earlier sums shrink.
pub struct Soften<'a> {
    pub scores: &'a mut [[f32; KV_BLOCK]],
    pub most: &'a mut [f32],
    pub total: &'a mut [f32],
    pub shrink: &'a mut [f32],
}

impl Work for Soften<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Soften { scores, most, total, shrink } = self;
        for (((scores, most), total), shrink) in scores.iter_mut().zip(most).zip(total).zip(shrink) {
            let mut largest = l.splat(*most);
            for scores in scores.chunks_exact(L::WIDTH) {
                largest = l.max(l.load(scores), largest);
            }
            let largest = l.largest(largest);
            let mut sums = l.splat(0.0);
            for scores in scores.chunks_exact_mut(L::WIDTH) {
                let weight = l.exp2(l.add(l.load(scores), l.splat(-largest)));
                sums = l.add(sums, weight);
                l.store(scores, weight);
            }
            *shrink = l.largest(l.exp2(l.splat(*most - largest)));
            *most = largest;
            *total = *total * *shrink + l.sum(sums);
        }
    }
}

/// `y_i = y_i * shrink_i + sum over p of weights[i][p] * v_p`, for the `y.len() / head_dim` queries.
#[inline(always)]
pub fn weigh<L: Lanes, E: Cell, const Q: usize>(
    l: L,
    weights: &Scores<Q>,
    v: &[E],
    ahead: &[u8],
    positions: &Range<usize>,
    shrink: &[f32; Q],
    y: &mut [f32],
) {
    let head_dim = v.len() / KV_BLOCK;
    let v = &v[positions.start * head_dim..positions.end * head_dim];
    let queries = y.len() / head_dim;
    let mut i = 0;
    while i < queries {
        let (y, ahead) = (&mut y[i * head_dim..], if i == 0 { ahead } else { &[] });
        let part = Mix { weights: &weights[i..], v, ahead, head_dim, begin: positions.start, shrink: &shrink[i..], y };
        i += match queries - i {
            1 => part.of::<L, 1, 4, 8>(l),
            2 => part.of::<L, 2, 4, 4>(l),
            3 => part.of::<L, 3, 4, 4>(l),
            4 | 5 => part.of::<L, 4, 4, 2>(l),
            _ => part.of::<L, 6, 4, 2>(l),
        };
    }
}

/// The sums of the next few queries.
struct Mix<'a, E> {
    weights: &'a [[f32; KV_BLOCK]],
    /// Rows from position `begin` on.
    v: &'a [E],
    ahead: &'a [u8],
    head_dim: usize,
    begin: usize,
    shrink: &'a [f32],
    y: &'a mut [f32],
}

/// Of the first `N` queries, `V` vectors of each at a time.
struct SomeMix<'a, E, const N: usize, const V: usize>(Mix<'a, E>);

impl<E: Cell> Mix<'_, E> {
    /// The first `N` queries, as many vectors at a time as the registers hold; returns `N`.
    #[inline(always)]
    fn of<L: Lanes, const N: usize, const MANY: usize, const FEW: usize>(self, l: L) -> usize {
        if const { L::MANY } {
            l.call(SomeMix::<E, N, MANY>(self));
        } else {
            l.call(SomeMix::<E, N, FEW>(self));
        }
        N
    }
}

impl<E: Cell, const N: usize, const V: usize> Work for SomeMix<'_, E, N, V> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let vectors = self.0.head_dim / L::WIDTH;
        let positions = self.0.v.len() / self.0.head_dim;
        let mut ahead = Ahead::new(self.0.ahead, vectors.div_ceil(V) * positions.div_ceil(TURN));
        let mut j = 0;
        while j + V <= vectors {
            self.part::<L, V>(l, j, &mut ahead);
            j += V;
        }
        // One vector of one query would wait for itself in every product.
        while const { N == 1 } && j + 2 <= vectors {
            self.part::<L, 2>(l, j, &mut ahead);
            j += 2;
        }
        while j < vectors {
            self.part::<L, 1>(l, j, &mut ahead);
            j += 1;
        }
    }
}

impl<E: Cell, const N: usize, const V: usize> SomeMix<'_, E, N, V> {
    /// Vectors `j..j + W` of each query.
    #[inline(always)]
    fn part<L: Lanes, const W: usize>(&mut self, l: L, j: usize, ahead: &mut Ahead) {
        let Mix { v, head_dim, begin, .. } = self.0;
        let positions = v.len() / head_dim;
        let mut weights: [&[f32]; N] = [&[]; N];
        let mut sums = [[l.splat(0.0); W]; N];
        for i in 0..N {
            weights[i] = &self.0.weights[i][begin..][..positions];
            let y = &self.0.y[i * head_dim..][j * L::WIDTH..];
            for v in 0..W {
                sums[i][v] = l.mul(l.load(&y[v * L::WIDTH..]), l.splat(self.0.shrink[i]));
            }
        }
        self.products(l, &weights, j, ahead, &mut sums);
        for i in 0..N {
            let y = &mut self.0.y[i * head_dim..][j * L::WIDTH..];
            for v in 0..W {
                l.store(&mut y[v * L::WIDTH..], sums[i][v]);
            }
        }
    }

    #[inline(always)]
    fn products<L: Lanes, const W: usize>(
        &self,
        l: L,
        weights: &[&[f32]; N],
        j: usize,
        ahead: &mut Ahead,
        sums: &mut [[L::V; W]; N],
    ) {
        let Mix { v, head_dim, .. } = self.0;
        let positions = v.len() / head_dim;
        let turns = positions / TURN;
        let columns = Columns { of: &v[j * L::WIDTH..], apart: L::WIDTH, stride: head_dim };
        if by_hand(l, weights, columns, ahead, sums) {
            return;
        }
        let row = |p: usize| &v[p * head_dim + j * L::WIDTH..][..W * L::WIDTH];
        for c in 0..turns {
            ahead.step(l);
            let mut w: [&[f32; TURN]; N] = [&[0.0; TURN]; N];
            for i in 0..N {
                w[i] = &weights[i].as_chunks().0[c];
            }
            for p in turn::<N>() {
                let row = row(c * TURN + p);
                outer!(l, sums, N, W, i => l.splat(w[i][p]), v => E::load(l, &row[v * L::WIDTH..]));
            }
        }
        for p in turns * TURN..positions {
            let row = row(p);
            outer!(l, sums, N, W, i => l.splat(weights[i][p]), v => E::load(l, &row[v * L::WIDTH..]));
        }
    }
}
