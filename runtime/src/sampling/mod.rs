//! Choosing the next token from a row of logits.
//!
//! The steps, in this order (that of `transformers`; a mask of the caller's, such as a grammar's, is set on the logits before):
//!
//! 1. logit bias: `l += bias[id]`;
//! 2. repetition penalty, once for every distinct token of the window: `l = if l > 0 { l / r } else { l * r }`;
//! 3. frequency and presence penalty, on the same window: `l -= count * frequency + presence`;
//! 4. temperature: `l /= t`; zero means greedy: the highest logit, the lowest id among equals, and nothing below happens;
//! 5. top-k: the `k` highest logits, the lower id first among equals;
//! 6. top-p: of these, the fewest highest whose share of their mass reaches `p`, at least one;
//! 7. min-p: of these, the ones at least `min_p` times as probable as the most probable;
//! 8. one draw from what remains, in proportion to `exp(l)`.
//!
//! Steps 5 to 7 each keep a prefix of the tokens in descending order, so only as much of that order is made as they can keep.

mod options;
mod rng;
mod scan;
#[cfg(test)]
mod tests;
mod truncate;

pub use options::SamplerOptions;
pub use rng::Rng;
pub(crate) use scan::all_finite;

use crate::{Error, ErrorKind, Result};
use scan::{all_below_infinity, highest};
use truncate::{Candidate, Truncation};

/// One sequence's sampler: its options, its random state, and scratch that is reused from token to token.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    vocab: usize,
    rng: Rng,
    /// How often each token occurs in the penalty window; all zero between calls.
    counts: Vec<u32>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// `vocab` is the length of every row of logits this sampler will see.
    pub fn new(options: SamplerOptions, vocab: usize) -> Result<Self> {
        options.validate(vocab)?;
        let rng = Rng::new(options.seed);
        let counts = vec![0; if options.penalizes() { vocab } else { 0 }];
        Ok(Self { options, vocab, rng, counts, candidates: Vec::new() })
    }

    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Picks the next token after `history` (prompt and reply, oldest first). `logits` are changed in place; `-inf` marks a token that must not come.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<u32> {
        if logits.len() != self.vocab {
            let message = format!("{} logits given to a sampler over {} tokens", logits.len(), self.vocab);
            return Err(Error::invalid_argument(message));
        }
        for &(id, bias) in &self.options.logit_bias {
            logits[id as usize] += bias;
        }
        self.penalize(logits, history)?;
        let best = best_finite(logits)?;
        if self.options.temperature == 0.0 {
            return Ok(best);
        }
        self.draw(logits, logits[best as usize])
    }

    fn penalize(&mut self, logits: &mut [f32], history: &[u32]) -> Result<()> {
        if !self.options.penalizes() {
            return Ok(());
        }
        let window = &history[history.len().saturating_sub(self.options.penalty_window)..];
        if let Some(id) = window.iter().find(|&&id| id as usize >= self.vocab) {
            let message = format!("token {id} in the history is outside the vocabulary of {}", self.vocab);
            return Err(Error::invalid_argument(message));
        }
        for &id in window {
            self.counts[id as usize] += 1;
        }
        let o = &self.options;
        for &id in window {
            // Taking the count leaves zero behind: a token's later occurrences pass by, and the scratch is clean for the next call.
            let count = std::mem::take(&mut self.counts[id as usize]);
            if count > 0 {
                let l = &mut logits[id as usize];
                *l = if *l > 0.0 { *l / o.repetition_penalty } else { *l * o.repetition_penalty };
                *l -= count as f32 * o.frequency_penalty + o.presence_penalty;
            }
        }
        Ok(())
    }

    fn draw(&mut self, logits: &[f32], max: f32) -> Result<u32> {
        let o = &self.options;
        let truncation = Truncation { top_k: o.top_k, top_p: o.top_p, min_p: o.min_p, temperature: o.temperature };
        truncation.keep(logits, max, &mut self.candidates);
        let total: f64 = self.candidates.iter().map(|c| c.weight).sum();
        let mut rest = self.rng.unit() * total;
        for c in &self.candidates {
            rest -= c.weight;
            if rest < 0.0 {
                return Ok(c.id);
            }
        }
        // Rounding may leave `rest` at zero after the last one.
        let last = self.candidates.iter().rev().find(|c| c.weight > 0.0);
        last.map(|c| c.id).ok_or_else(|| Error::new(ErrorKind::NotFinite, "no token has any probability"))
    }
}

/// The id of the highest logit, the lowest id among equals. The logits must be numbers below infinity, and one above minus infinity.
fn best_finite(logits: &[f32]) -> Result<u32> {
    // So few that looking for the best within costs little.
    const PIECE: usize = 2048;
    let (mut max, mut from) = (f32::NEG_INFINITY, 0);
    for (i, piece) in logits.chunks(PIECE).enumerate() {
        if !all_below_infinity(piece)
            && let Some(at) = piece.iter().position(|l| l.is_nan() || *l == f32::INFINITY)
        {
            let message = format!("the logit of token {} is {}", i * PIECE + at, piece[at]);
            return Err(Error::new(ErrorKind::NotFinite, message));
        }
        let highest = highest(piece);
        if highest > max {
            (max, from) = (highest, i * PIECE);
        }
    }
    if max == f32::NEG_INFINITY {
        return Err(Error::new(ErrorKind::NotFinite, "every token is masked: all logits are -inf"));
    }
    let within = logits[from..].iter().position(|l| *l == max).unwrap_or_default();
    Ok((from + within) as u32)
}
