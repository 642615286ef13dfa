//! What some queries do with one block of the cache.

use core::ops::Range;

use crate::abi::{KV_BLOCK, KV_TILE};

use super::lanes::{Cell, Lanes};

/// What will be read next, asked for in as many steps as there is work meanwhile.
struct Ahead<'a, E> {
    cells: &'a [E],
    each: usize,
}

impl<'a, E: Copy> Ahead<'a, E> {
    #[inline(always)]
    fn new(cells: &'a [E], steps: usize) -> Self {
        Ahead { cells, each: cells.len().div_ceil(steps) }
    }

    #[inline(always)]
    fn step<L: Lanes>(&mut self, l: L) {
        let (now, later) = self.cells.split_at(self.each.min(self.cells.len()));
        now.iter().step_by(64 / size_of::<E>()).for_each(|cell| l.prefetch(cell));
        self.cells = later;
    }
}

/// Of each query and each position of a block.
pub type Scores<const Q: usize> = [[f32; KV_BLOCK]; Q];

/// `scores[i][p] = q_i · k_p` for all vectors of positions that touch `positions`.
#[inline(always)]
pub fn scores<L: Lanes, E: Cell, const Q: usize>(
    l: L,
    queries: &[&[f32]],
    k: &[E],
    ahead: &[E],
    positions: &Range<usize>,
    scores: &mut Scores<Q>,
) {
    let vectors = positions.start / L::WIDTH..positions.end.div_ceil(L::WIDTH);
    let mut i = 0;
    while i < queries.len() {
        let some = Some { queries: &queries[i..], k, ahead, vectors: &vectors, scores: &mut scores[i..] };
        i += match queries.len() - i {
            1 => some.scores::<L, 1, 4, 4>(l),
            2 => some.scores::<L, 2, 4, 4>(l),
            3 => some.scores::<L, 3, 4, 3>(l),
            4 | 5 => some.scores::<L, 4, 4, 2>(l),
            _ => some.scores::<L, 6, 4, 2>(l),
        };
    }
}

/// The next few queries.
struct Some<'a, E> {
    queries: &'a [&'a [f32]],
    k: &'a [E],
    ahead: &'a [E],
    vectors: &'a Range<usize>,
    scores: &'a mut [[f32; KV_BLOCK]],
}

impl<E: Cell> Some<'_, E> {
    /// The first `N` queries, as many vectors at a time as the registers hold; returns `N`.
    #[inline(always)]
    fn scores<L: Lanes, const N: usize, const MANY: usize, const FEW: usize>(mut self, l: L) -> usize {
        let mut j = self.vectors.start;
        while j < self.vectors.end {
            let rest = self.vectors.end - j;
            j += if L::MANY && rest >= MANY {
                self.part::<L, N, MANY>(l, j)
            } else if !L::MANY && rest >= FEW {
                self.part::<L, N, FEW>(l, j)
            } else if rest >= 2 {
                self.part::<L, N, 2>(l, j)
            } else {
                self.part::<L, N, 1>(l, j)
            };
        }
        N
    }

    /// Vectors `j..j + V`; returns `V`.
    #[inline(always)]
    fn part<L: Lanes, const N: usize, const V: usize>(&mut self, l: L, j: usize) -> usize {
        let mut queries: [&[f32]; N] = [&[]; N];
        let head_dim = self.queries[0].len();
        for i in 0..N {
            queries[i] = &self.queries[i][..head_dim];
        }
        let each = L::WIDTH / KV_TILE;
        let mut tiles: [[&[[E; KV_TILE]]; 2]; V] = [[&[]; 2]; V];
        for v in 0..V {
            for t in 0..2 {
                let tile = (j + v) * each + t.min(each - 1);
                tiles[v][t] = &self.k.as_chunks().0[tile * head_dim..][..head_dim];
            }
        }
        let mut sums = [[l.splat(0.0); V]; N];
        let mut ahead = Ahead::new(self.ahead, head_dim);
        for d in 0..head_dim {
            ahead.step(l);
            let mut k = [l.splat(0.0); V];
            for v in 0..V {
                k[v] = E::tiles(l, [&tiles[v][0][d], &tiles[v][1][d]]);
            }
            for i in 0..N {
                let q = l.splat(queries[i][d]);
                for v in 0..V {
                    sums[i][v] = l.fma(q, k[v], sums[i][v]);
                }
            }
        }
        for i in 0..N {
            for v in 0..V {
                l.store(&mut self.scores[i][(j + v) * L::WIDTH..][..L::WIDTH], sums[i][v]);
            }
        }
        V
    }
}

/// Turns a query's scores into weights and updates its sums; returns by what earlier sums shrink.
#[inline(always)]
pub fn soften<L: Lanes>(l: L, scores: &mut [f32; KV_BLOCK], scale: f32, most: &mut f32, total: &mut f32) -> f32 {
    let mut here = l.splat(*most);
    for scores in scores.chunks_exact_mut(L::WIDTH) {
        let scaled = l.mul(l.load(scores), l.splat(scale));
        here = l.max(scaled, here);
        l.store(scores, scaled);
    }
    let new = l.largest(here);
    let mut sums = l.splat(0.0);
    for scores in scores.chunks_exact_mut(L::WIDTH) {
        let weight = l.exp(l.add(l.load(scores), l.splat(-new)));
        sums = l.add(sums, weight);
        l.store(scores, weight);
    }
    let shrink = l.largest(l.exp(l.splat(*most - new)));
    *most = new;
    *total = *total * shrink + l.sum(sums);
    shrink
}

/// `y_i = y_i * shrink_i + sum over p of weights[i][p] * v_p`, for the `y.len() / head_dim` queries.
#[inline(always)]
pub fn weigh<L: Lanes, E: Cell, const Q: usize>(
    l: L,
    weights: &Scores<Q>,
    v: &[E],
    ahead: &[E],
    positions: &Range<usize>,
    shrink: &[f32; Q],
    y: &mut [f32],
) {
    let head_dim = v.len() / KV_BLOCK;
    let v = &v[positions.start * head_dim..positions.end * head_dim];
    let queries = y.len() / head_dim;
    let mut i = 0;
    while i < queries {
        let y = &mut y[i * head_dim..];
        let some = Mix { weights: &weights[i..], v, ahead, head_dim, begin: positions.start, shrink: &shrink[i..], y };
        i += match queries - i {
            1 => some.weigh::<L, 1, 4, 4>(l),
            2 => some.weigh::<L, 2, 4, 4>(l),
            3 => some.weigh::<L, 3, 4, 3>(l),
            4 | 5 => some.weigh::<L, 4, 4, 2>(l),
            _ => some.weigh::<L, 6, 4, 2>(l),
        };
    }
}

/// The next few queries' sums.
struct Mix<'a, E> {
    weights: &'a [[f32; KV_BLOCK]],
    /// Rows from position `begin` on.
    v: &'a [E],
    ahead: &'a [E],
    head_dim: usize,
    begin: usize,
    shrink: &'a [f32],
    y: &'a mut [f32],
}

impl<E: Cell> Mix<'_, E> {
    #[inline(always)]
    fn weigh<L: Lanes, const N: usize, const MANY: usize, const FEW: usize>(mut self, l: L) -> usize {
        let vectors = self.head_dim / L::WIDTH;
        let mut j = 0;
        while j < vectors {
            let rest = vectors - j;
            j += if L::MANY && rest >= MANY {
                self.part::<L, N, MANY>(l, j)
            } else if !L::MANY && rest >= FEW {
                self.part::<L, N, FEW>(l, j)
            } else if rest >= 2 {
                self.part::<L, N, 2>(l, j)
            } else {
                self.part::<L, N, 1>(l, j)
            };
        }
        N
    }

    /// Vectors `j..j + V` of each query; returns `V`.
    #[inline(always)]
    fn part<L: Lanes, const N: usize, const V: usize>(&mut self, l: L, j: usize) -> usize {
        let positions = self.v.len() / self.head_dim;
        let mut weights: [&[f32]; N] = [&[]; N];
        let mut sums = [[l.splat(0.0); V]; N];
        for i in 0..N {
            weights[i] = &self.weights[i][self.begin..][..positions];
            let y = &self.y[i * self.head_dim..][j * L::WIDTH..];
            for v in 0..V {
                sums[i][v] = l.mul(l.load(&y[v * L::WIDTH..]), l.splat(self.shrink[i]));
            }
        }
        let mut ahead = Ahead::new(self.ahead, positions);
        for (p, row) in self.v.chunks_exact(self.head_dim).enumerate() {
            ahead.step(l);
            let row = &row[j * L::WIDTH..][..V * L::WIDTH];
            let mut values = [l.splat(0.0); V];
            for v in 0..V {
                values[v] = E::load(l, &row[v * L::WIDTH..]);
            }
            for i in 0..N {
                let weight = l.splat(weights[i][p]);
                for v in 0..V {
                    sums[i][v] = l.fma(weight, values[v], sums[i][v]);
                }
            }
        }
        for i in 0..N {
            let y = &mut self.y[i * self.head_dim..][j * L::WIDTH..];
            for v in 0..V {
                l.store(&mut y[v * L::WIDTH..], sums[i][v]);
            }
        }
        V
    }
}
