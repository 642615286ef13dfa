//! The KV cache and attention over it.

use std::collections::{HashMap, HashSet};

use super::Batch;
use super::tensor::{Tensor, dot};
use crate::error::RunError;

/// Keys and values by position.
#[derive(Default)]
struct Rows {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

#[derive(Default)]
pub(super) struct Cache {
    /// Positions that each sequence has.
    lengths: HashMap<u32, u32>,
    /// By layer and sequence.
    rows: HashMap<(u32, u32), Rows>,
}

/// Head counts, and the widths that follow.
pub(super) struct Heads {
    pub heads: usize,
    pub shared_by: usize,
    pub head_dim: usize,
    pub q: usize,
    pub kv: usize,
}

impl Heads {
    pub(super) fn new(heads: u32, kv_heads: u32, head_dim: u32) -> Heads {
        let (heads, kv_heads, head_dim) = (heads as usize, kv_heads as usize, head_dim as usize);
        Heads { heads, shared_by: heads / kv_heads, head_dim, q: heads * head_dim, kv: kv_heads * head_dim }
    }
}

impl Cache {
    /// Takes the batch's positions into account; each must follow its predecessor.
    pub(super) fn begin(&mut self, batch: &Batch) -> Result<(), RunError> {
        let mut begun = HashSet::new();
        for (&sequence, &position) in batch.sequences.iter().zip(&batch.positions) {
            let length = self.lengths.entry(sequence).or_default();
            let rewinds = begun.insert(sequence) && position < *length;
            if position != *length && !rewinds {
                return Err(RunError(format!("position {position} of sequence {sequence}, which has {length}")));
            }
            *length = position + 1;
        }
        Ok(())
    }

    /// One row of `k` and `v` for each token.
    pub(super) fn write(&mut self, layer: u32, batch: &Batch, k: &Tensor, v: &Tensor) {
        for (token, (k, v)) in k.rows().zip(v.rows()).enumerate() {
            let rows = self.rows.entry((layer, batch.sequences[token])).or_default();
            let position = batch.positions[token] as usize;
            rows.keys.truncate(position);
            rows.values.truncate(position);
            rows.keys.push(k.to_vec());
            rows.values.push(v.to_vec());
        }
    }

    pub(super) fn attend(
        &self,
        layer: u32,
        batch: &Batch,
        q: &Tensor,
        heads: &Heads,
        scale: f32,
        window: Option<u32>,
    ) -> Tensor {
        let mut data = Vec::with_capacity(q.data.len());
        for (token, q) in q.rows().enumerate() {
            let rows = &self.rows[&(layer, batch.sequences[token])];
            let end = batch.positions[token] as usize + 1;
            let begin = window.map_or(0, |window| end.saturating_sub(window as usize));
            for head in 0..heads.heads {
                let q = &q[head * heads.head_dim..][..heads.head_dim];
                let first = head / heads.shared_by * heads.head_dim;
                let columns = first..first + heads.head_dim;
                let keys = rows.keys[begin..end].iter().map(|k| &k[columns.clone()]);
                let values = rows.values[begin..end].iter().map(|v| &v[columns.clone()]);
                data.extend(attend_head(q, keys, values, scale));
            }
        }
        Tensor { width: q.width, data }
    }
}

/// `softmax(scale * q kᵀ) v` of one head.
fn attend_head<'a>(
    q: &[f32],
    keys: impl Iterator<Item = &'a [f32]>,
    values: impl Iterator<Item = &'a [f32]>,
    scale: f32,
) -> Vec<f32> {
    let scores: Vec<f64> = keys.map(|k| f64::from(scale) * dot(q, k)).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut y = vec![0f64; q.len()];
    for (weight, v) in weights.iter().zip(values) {
        y.iter_mut().zip(v).for_each(|(y, v)| *y += weight / total * f64::from(*v));
    }
    y.into_iter().map(|y| y as f32).collect()
}
