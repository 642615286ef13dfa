//! Causal attention of one window, and the way back. Heads are taken one after the other.

use crate::linalg::{Side, add_dense};

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

impl Attention {
    /// What the heads make, and how much each position took from each, head after head.
    pub fn forward(&self, qkv: &Qkv) -> (Vec<f32>, Vec<f32>) {
        let (size, positions) = (self.head_dim, qkv.q.len() / (self.heads * self.head_dim));
        let mut mixed = vec![0.0; qkv.q.len()];
        let mut shares = vec![0.0; self.heads * positions * positions];
        for (head, shares) in shares.chunks_exact_mut(positions * positions).enumerate() {
            let [q, k, v] = self.of_head(qkv, head);
            add_dense(shares, Side::rows(&q, size), Side::rows(&k, size));
            shares.chunks_exact_mut(positions).enumerate().for_each(|(at, row)| self.softmax(row, at));
            let mut out = vec![0.0; positions * size];
            add_dense(&mut out, Side::rows(shares, positions), Side::columns(&v, size));
            add_to_head(&mut mixed, self.heads, head, &out, size);
        }
        (mixed, shares)
    }

    pub fn backward(&self, qkv: &Qkv, shares: &[f32], d_mixed: &[f32]) -> Qkv {
        let (size, positions) = (self.head_dim, qkv.q.len() / (self.heads * self.head_dim));
        let zeros = |like: &Vec<f32>| vec![0.0; like.len()];
        let mut d = Qkv { q: zeros(&qkv.q), k: zeros(&qkv.k), v: zeros(&qkv.v) };
        for (head, shares) in shares.chunks_exact(positions * positions).enumerate() {
            let [q, k, v] = self.of_head(qkv, head);
            let d_out = take_head(d_mixed, self.heads, head, size);
            let mut d_scores = vec![0.0; positions * positions];
            add_dense(&mut d_scores, Side::rows(&d_out, size), Side::rows(&v, size));
            for (row, shares) in d_scores.chunks_exact_mut(positions).zip(shares.chunks_exact(positions)) {
                let mean: f32 = row.iter().zip(shares).map(|(d, share)| d * share).sum();
                row.iter_mut().zip(shares).for_each(|(d, share)| *d = share * (*d - mean) * self.scale);
            }
            let zero = || vec![0.0; positions * size];
            let [mut dq, mut dk, mut dv] = [zero(), zero(), zero()];
            add_dense(&mut dq, Side::rows(&d_scores, positions), Side::columns(&k, size));
            add_dense(&mut dk, Side::columns(&d_scores, positions), Side::columns(&q, size));
            add_dense(&mut dv, Side::columns(shares, positions), Side::columns(&d_out, size));
            let kv_head = head * self.kv_heads / self.heads;
            add_to_head(&mut d.q, self.heads, head, &dq, size);
            add_to_head(&mut d.k, self.kv_heads, kv_head, &dk, size);
            add_to_head(&mut d.v, self.kv_heads, kv_head, &dv, size);
        }
        d
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
        let largest = seen.iter().fold(f32::NEG_INFINITY, |largest, x| largest.max(*x));
        seen.iter_mut().for_each(|x| *x = ((*x - largest) * self.scale).exp());
        let inverse = seen.iter().sum::<f32>().recip();
        seen.iter_mut().for_each(|x| *x *= inverse);
    }
}

fn take_head(values: &[f32], heads: usize, head: usize, size: usize) -> Vec<f32> {
    values.chunks_exact(heads * size).flat_map(|row| &row[head * size..][..size]).copied().collect()
}

fn add_to_head(values: &mut [f32], heads: usize, head: usize, added: &[f32], size: usize) {
    for (row, added) in values.chunks_exact_mut(heads * size).zip(added.chunks_exact(size)) {
        row[head * size..][..size].iter_mut().zip(added).for_each(|(value, added)| *value += added);
    }
}
