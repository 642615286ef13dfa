//! Causal attention of one window, and the way back. Heads are taken one after the other.

use tc_kernels::exp::exp;

use crate::linalg::{Side, add_dense, dot, largest, sum_of, wide};

#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub scale: f32,
    /// Positions that one sees, its own included.
    pub sees: usize,
}

/// Queries, keys and values (or what changes with them): rows of all their heads, a row for each position.
pub struct Qkv {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

/// Positions whose products are made together, with all that any of them sees.
const BLOCK: usize = 128;

/// From where to where blocks are, and their part of the shares: for each position a row of as many numbers as the block's last one sees.
fn blocks(positions: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..positions).step_by(BLOCK).map(move |begin| (begin, (begin + BLOCK).min(positions)))
}

impl Attention {
    /// What the heads make, and how much each position took from each, block after block of head after head.
    pub fn forward(&self, qkv: &Qkv) -> (Vec<f32>, Vec<f32>) {
        let (size, positions) = (self.head_dim, self.positions(qkv));
        let mut mixed = vec![0.0; qkv.q.len()];
        let mut shares = vec![0.0; self.heads * shares_of_head(positions)];
        for (head, mut rest) in shares.chunks_exact_mut(shares_of_head(positions)).enumerate() {
            let [q, k, v] = self.of_head(qkv, head);
            let mut out = vec![0.0; positions * size];
            for (begin, end) in blocks(positions) {
                let shares = rest.split_off_mut(..(end - begin) * end).unwrap_or_default();
                add_dense(shares, Side::rows(&q[begin * size..end * size], size), Side::rows(&k[..end * size], size));
                shares.chunks_exact_mut(end).zip(begin..).for_each(|(row, at)| self.softmax(row, at));
                let out = &mut out[begin * size..end * size];
                add_dense(out, Side::rows(shares, end), Side::columns(&v[..end * size], size));
            }
            add_to_head(&mut mixed, self.heads, head, &out, size);
        }
        (mixed, shares)
    }

    pub fn backward(&self, qkv: &Qkv, shares: &[f32], d_mixed: &[f32]) -> Qkv {
        let (size, positions) = (self.head_dim, self.positions(qkv));
        let zeros = |like: &Vec<f32>| vec![0.0; like.len()];
        let mut d = Qkv { q: zeros(&qkv.q), k: zeros(&qkv.k), v: zeros(&qkv.v) };
        for (head, mut rest) in shares.chunks_exact(shares_of_head(positions)).enumerate() {
            let [q, k, v] = self.of_head(qkv, head);
            let d_out = take_head(d_mixed, self.heads, head, size);
            let zero = || vec![0.0; positions * size];
            let [mut dq, mut dk, mut dv] = [zero(), zero(), zero()];
            for (begin, end) in blocks(positions) {
                let shares = rest.split_off(..(end - begin) * end).unwrap_or_default();
                let (block, seen) = (begin * size..end * size, ..end * size);
                let mut d_scores = vec![0.0; shares.len()];
                add_dense(&mut d_scores, Side::rows(&d_out[block.clone()], size), Side::rows(&v[seen], size));
                for (row, shares) in d_scores.chunks_exact_mut(end).zip(shares.chunks_exact(end)) {
                    let mean = dot(row, shares);
                    row.iter_mut().zip(shares).for_each(|(d, share)| *d = share * (*d - mean) * self.scale);
                }
                add_dense(&mut dq[block.clone()], Side::rows(&d_scores, end), Side::columns(&k[seen], size));
                add_dense(&mut dk[seen], Side::columns(&d_scores, end), Side::columns(&q[block.clone()], size));
                add_dense(&mut dv[seen], Side::columns(shares, end), Side::columns(&d_out[block], size));
            }
            let kv_head = head * self.kv_heads / self.heads;
            add_to_head(&mut d.q, self.heads, head, &dq, size);
            add_to_head(&mut d.k, self.kv_heads, kv_head, &dk, size);
            add_to_head(&mut d.v, self.kv_heads, kv_head, &dv, size);
        }
        d
    }

    fn positions(&self, qkv: &Qkv) -> usize {
        qkv.q.len() / (self.heads * self.head_dim)
    }

    fn of_head(&self, qkv: &Qkv, head: usize) -> [Vec<f32>; 3] {
        let kv_head = head * self.kv_heads / self.heads;
        let of = |values, heads, head| take_head(values, heads, head, self.head_dim);
        [of(&qkv.q, self.heads, head), of(&qkv.k, self.kv_heads, kv_head), of(&qkv.v, self.kv_heads, kv_head)]
    }

    /// From a position's products to shares of what it sees.
    fn softmax(&self, row: &mut [f32], at: usize) {
        let (seen, later) = row.split_at_mut(at + 1);
        let (before, seen) = seen.split_at_mut((at + 1).saturating_sub(self.sees));
        before.fill(0.0);
        later.fill(0.0);
        let largest = largest(seen);
        wide(
            #[inline(always)]
            || seen.iter_mut().for_each(|x| *x = exp((*x - largest) * self.scale)),
        );
        let inverse = sum_of(seen, |x| x).recip();
        seen.iter_mut().for_each(|x| *x *= inverse);
    }
}

fn shares_of_head(positions: usize) -> usize {
    blocks(positions).map(|(begin, end)| (end - begin) * end).sum()
}

fn take_head(values: &[f32], heads: usize, head: usize, size: usize) -> Vec<f32> {
    let mut taken = Vec::with_capacity(values.len() / heads);
    values.chunks_exact(heads * size).for_each(|row| taken.extend_from_slice(&row[head * size..][..size]));
    taken
}

fn add_to_head(values: &mut [f32], heads: usize, head: usize, added: &[f32], size: usize) {
    for (row, added) in values.chunks_exact_mut(heads * size).zip(added.chunks_exact(size)) {
        row[head * size..][..size].iter_mut().zip(added).for_each(|(value, added)| *value += added);
    }
}
