//! The end of the model: how far its predictions are from what they should be, and the way back.

use tc_kernels::exp::exp;

use super::ops::{rms_norm, rms_norm_back};
use crate::linalg::{Panels, Side, add_dense, add_packed, largest, sum_of, wide};

/// Tokens whose predictions are in memory together.
const CHUNK: usize = 128;

pub struct Head {
    pub norm: Vec<f32>,
    pub eps: f32,
    /// Row after row, each multiplied by what the model multiplies predictions by.
    pub table: Vec<f32>,
    /// What `table` should be.
    pub exact: Panels,
}

impl Head {
    /// The sum over a window's tokens of `KL(exact || x)`, and how it changes with `x`; both are what the last layer gives.
    pub fn divergence(&self, x: &[f32], exact: &[f32]) -> (f64, Vec<f32>) {
        let dim = self.norm.len();
        let (mut sum, mut d_x) = (0.0, vec![0.0; x.len()]);
        let chunks = x.chunks(CHUNK * dim).zip(exact.chunks(CHUNK * dim)).zip(d_x.chunks_mut(CHUNK * dim));
        for ((x, exact), d_x) in chunks {
            let vocab = self.table.len() / dim;
            let [mut logits, mut wanted] = [(); 2].map(|()| vec![0.0; x.len() / dim * vocab]);
            let normed = |x: &[f32]| rms_norm(x, &self.norm, self.eps);
            add_dense(&mut logits, Side::rows(&normed(x), dim), Side::rows(&self.table, dim));
            add_packed(&mut wanted, Side::rows(&normed(exact), dim), &self.exact);
            for (logits, wanted) in logits.chunks_exact_mut(vocab).zip(wanted.chunks_exact_mut(vocab)) {
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
fn divergence_of(logits: &mut [f32], wanted: &mut [f32]) -> f64 {
    let (ln_q, ln_p) = (log_of_sum(logits), log_of_sum(wanted));
    wide(
        #[inline(always)]
        || {
            for (logit, wanted) in logits.iter_mut().zip(wanted.iter_mut()) {
                let (q, p) = (*logit - ln_q, *wanted - ln_p);
                let probability = exp(p);
                *logit = exp(q) - probability;
                *wanted = probability * (p - q);
            }
        },
    );
    f64::from(sum_of(wanted, |term| term))
}

fn log_of_sum(logits: &[f32]) -> f32 {
    let largest = largest(logits);
    largest + sum_of(logits, |x| exp(x - largest)).ln()
}
