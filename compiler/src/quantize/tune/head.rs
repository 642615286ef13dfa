//! The end of the model: how far its predictions are from what they should be, and the way back.

use super::ops::{rms_norm, rms_norm_back};
use crate::linalg::{Side, add_dense};

/// Tokens whose predictions are in memory together.
const CHUNK: usize = 128;

pub struct Head {
    pub norm: Vec<f32>,
    pub eps: f32,
    /// Row after row, each multiplied by what the model multiplies predictions by.
    pub table: Vec<f32>,
    /// What `table` should be.
    pub exact: Vec<f32>,
}

impl Head {
    /// The sum over a window's tokens of `KL(exact || x)`, and how it changes with `x`; both are what the last layer gives.
    pub fn divergence(&self, x: &[f32], exact: &[f32]) -> (f64, Vec<f32>) {
        let dim = self.norm.len();
        let (mut sum, mut d_x) = (0.0, vec![0.0; x.len()]);
        let chunks = x.chunks(CHUNK * dim).zip(exact.chunks(CHUNK * dim)).zip(d_x.chunks_mut(CHUNK * dim));
        for ((x, exact), d_x) in chunks {
            let logits = |x: &[f32], table: &[f32]| {
                let normed = rms_norm(x, &self.norm, self.eps);
                let mut logits = vec![0.0; x.len() / dim * (table.len() / dim)];
                add_dense(&mut logits, Side::rows(&normed, dim), Side::rows(table, dim));
                logits
            };
            let (mut logits, wanted) = (logits(x, &self.table), logits(exact, &self.exact));
            let vocab = self.table.len() / dim;
            for (logits, wanted) in logits.chunks_exact_mut(vocab).zip(wanted.chunks_exact(vocab)) {
                sum += divergence_of(logits, wanted);
            }
            let mut d_normed = vec![0.0; x.len()];
            add_dense(&mut d_normed, Side::rows(&logits, vocab), Side::columns(&self.table, dim));
            rms_norm_back(x, &self.norm, self.eps, &d_normed, d_x);
        }
        (sum, d_x)
    }
}

/// `KL(wanted || logits)`; turns the logits into how it changes with them, which is `q - p`.
fn divergence_of(logits: &mut [f32], wanted: &[f32]) -> f64 {
    let (ln_q, ln_p) = (log_of_sum(logits), log_of_sum(wanted));
    let mut sum = 0.0;
    for (logit, wanted) in logits.iter_mut().zip(wanted) {
        let (q, p) = (*logit - ln_q, *wanted - ln_p);
        let probability = p.exp();
        sum += f64::from(probability * (p - q));
        *logit = q.exp() - probability;
    }
    sum
}

fn log_of_sum(logits: &[f32]) -> f32 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, x| largest.max(*x));
    largest + logits.iter().map(|x| f64::from((x - largest).exp())).sum::<f64>().ln() as f32
}
