//! The end of the model: how far its predictions are from what they should be, or what it would say itself, and the way back.

use std::ops::Range;

use tc_kernels::exp::exp;
use tcrt::sampling::Rng;

use super::ops::{rms_norm, rms_norm_back};
use crate::linalg::{Panels, Side, add_dense, add_packed, largest, sum_of, wide};

/// Tokens whose predictions are in memory together.
const CHUNK: usize = 128;

pub struct Head {
    pub norm: Vec<f32>,
    pub eps: f32,
    /// Row after row, each multiplied by what the model multiplies predictions by.
    pub table: Vec<f32>,
}

impl Head {
    /// The sum over a window's tokens of `KL(exact || x)`, and how it changes with `x`; both are what the last layer gives, and `exact` comes with
    /// what the table should be.
    pub fn divergence(&self, x: &[f32], (table, exact): (&Panels, &[f32])) -> (f64, Vec<f32>) {
        let (dim, vocab, mut sum) = (self.norm.len(), self.vocab(), 0.0);
        let d_x = self.back(x, |tokens, logits| {
            let mut wanted = vec![0.0; logits.len()];
            let exact = rms_norm(&exact[tokens.start * dim..tokens.end * dim], &self.norm, self.eps);
            add_packed(&mut wanted, Side::rows(&exact, dim), table);
            for (logits, wanted) in logits.chunks_exact_mut(vocab).zip(wanted.chunks_exact_mut(vocab)) {
                sum += divergence_of(logits, wanted);
            }
        });
        (sum, d_x)
    }

    /// How the surprise at what the model itself would say next, a token drawn after each of the window's, changes with `x`.
    pub fn surprise(&self, x: &[f32], draws: &mut Rng) -> Vec<f32> {
        let vocab = self.vocab();
        self.back(x, |_, logits| logits.chunks_exact_mut(vocab).for_each(|logits| surprise_of(logits, draws.unit())))
    }

    fn vocab(&self) -> usize {
        self.table.len() / self.norm.len()
    }

    /// From what `change` makes of some tokens' predictions, which is how a loss changes with them, to how it changes with `x`.
    fn back(&self, x: &[f32], mut change: impl FnMut(Range<usize>, &mut [f32])) -> Vec<f32> {
        let (dim, vocab, mut first) = (self.norm.len(), self.vocab(), 0);
        let mut d_x = vec![0.0; x.len()];
        for (x, d_x) in x.chunks(CHUNK * dim).zip(d_x.chunks_mut(CHUNK * dim)) {
            let tokens = x.len() / dim;
            let mut logits = vec![0.0; tokens * vocab];
            add_dense(&mut logits, Side::rows(&rms_norm(x, &self.norm, self.eps), dim), Side::rows(&self.table, dim));
            change(first..first + tokens, &mut logits);
            let mut d_normed = vec![0.0; x.len()];
            add_dense(&mut d_normed, Side::rows(&logits, vocab), Side::columns(&self.table, dim));
            rms_norm_back(x, &self.norm, self.eps, &d_normed, d_x);
            first += tokens;
        }
        d_x
    }
}

/// Turns the logits into how `-ln p(token)` changes with them, which is `p` less 1 for the token: the one at which the probabilities so far
/// exceed `draw`, which is below 1.
pub(super) fn surprise_of(logits: &mut [f32], draw: f64) {
    let ln = log_of_sum(logits);
    wide(
        #[inline(always)]
        || logits.iter_mut().for_each(|logit| *logit = exp(*logit - ln)),
    );
    let mut left = draw;
    let drawn = logits.iter().position(|p| {
        left -= f64::from(*p);
        left < 0.0
    });
    // Rounding may leave the sum a little below 1.
    if let Some(p) = logits.get_mut(drawn.unwrap_or(0)) {
        *p -= 1.0;
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
