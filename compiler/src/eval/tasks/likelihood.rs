//! Log-likelihoods of continuations. The choices of a question share what stands before them: it runs once, each choice goes on from a
//! fork of it, and all of them go on in one call.

use std::sync::Arc;

use tcrt::tokenizer::{Special, Tokenizer};
use tcrt::{BatchToken, Engine, EngineOptions, Model, SeqId};

use super::super::score::log_sum_exp;
use super::super::{EvalError, EvalOptions, PIECE};

/// Tokens, of which those from `from` on are predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Likelihood {
    tokens: Vec<u32>,
    from: usize,
}

impl Likelihood {
    /// What is read; the last token is only predicted.
    fn inputs(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }
}

/// Texts to tokens, as the harness's adapters for models of transformers do it.
pub struct Encoder {
    tokenizer: Tokenizer,
    /// Tokens that a window may have.
    window: usize,
}

impl Encoder {
    pub fn new(model: &Model, options: &EvalOptions) -> Result<Encoder, EvalError> {
        let tokenizer = model.tokenizer()?.ok_or_else(|| EvalError::NoTokenizer(model.name().to_string()))?;
        let positions = model.info().max_positions;
        match options.ctx.unwrap_or(positions) {
            0 => Err(EvalError::Context(0)),
            window => Ok(Encoder { tokenizer, window: window.min(positions) }),
        }
    }

    /// A prompt: `bos` comes first where the tokenizer adds it and the text has none.
    fn encode(&self, text: &str) -> Vec<u32> {
        let tokens = self.tokenizer.encode(text, Special::Parse);
        let bos = self.tokenizer.bos().filter(|bos| self.tokenizer.adds_bos() && tokens.first() != Some(bos));
        bos.into_iter().chain(tokens).collect()
    }

    /// Spaces at the context's end belong to what follows; the two are encoded as one text. What is too long loses its beginning.
    pub fn pair(&self, context: &str, continuation: &str) -> Result<Likelihood, String> {
        let stem = context.trim_end();
        let mut tokens = self.encode(&format!("{context}{continuation}"));
        let from = self.encode(stem).len();
        let count = tokens.len().saturating_sub(from);
        if from == 0 || count == 0 || count > self.window {
            return Err(format!("a context of {from} tokens and a choice of {count} cannot be scored"));
        }
        let cut = tokens.len().saturating_sub(self.window + 1);
        tokens.drain(..cut);
        Ok(Likelihood { from: from - cut, tokens })
    }

    /// Windows of a text in which every token is predicted once: the first begins with `bos` (else `eos`), each other with the last token
    /// of the one before, or earlier where it would be shorter than the others.
    pub fn rolling(&self, text: &str) -> Vec<Likelihood> {
        let tokens = self.encode(text);
        let prefix = self.tokenizer.bos().or(self.tokenizer.eos()).or(tokens.first().copied());
        let tokens: Vec<u32> = prefix.into_iter().chain(tokens).collect();
        windows(&tokens, self.window)
    }
}

/// `tokens` begin with one that is not predicted.
fn windows(tokens: &[u32], window: usize) -> Vec<Likelihood> {
    let mut windows = Vec::new();
    let mut done = 1;
    while done < tokens.len() {
        let end = tokens.len().min(done + window);
        let begin = end.saturating_sub(window + 1);
        windows.push(Likelihood { tokens: tokens[begin..end].to_vec(), from: done - begin });
        done = end;
    }
    windows
}

/// An engine with a sequence for what is shared and one for each that goes on from it.
pub struct Scorer {
    engine: Engine,
    shared: SeqId,
    chunk: usize,
}

impl Scorer {
    /// Has room for each of these sets.
    pub fn new(model: &Arc<Model>, sets: &[Vec<Likelihood>], options: &EvalOptions) -> Result<Scorer, EvalError> {
        let longest = sets.iter().flatten().map(|request| request.inputs().len()).max().unwrap_or(1);
        let most = sets.iter().map(Vec::len).max().unwrap_or(1);
        let options = EngineOptions {
            threads: options.threads,
            chunk: PIECE,
            max_rows: PIECE,
            context: longest.max(1),
            max_sequences: most + 1,
            kv_dtype: options.kv(),
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(Arc::clone(model), &options).map_err(|error| error.in_place(model.name()))?;
        let (shared, chunk) = (engine.add_sequence()?, engine.chunk());
        Ok(Scorer { engine, shared, chunk })
    }

    /// For each, the sum of ln of the probabilities of the tokens that are predicted.
    pub fn score(&mut self, requests: &[Likelihood]) -> Result<Vec<f64>, EvalError> {
        let shared = shared_prefix(requests);
        self.engine.truncate(self.shared, 0)?;
        let prefix = requests.first().map_or(&[][..], |request| &request.inputs()[..shared]);
        let prefix: Vec<BatchToken> = prefix.iter().map(|token| read(self.shared, *token)).collect();
        prefix.chunks(self.chunk).try_for_each(|piece| self.engine.forward(piece).map(|_| ()))?;
        let mut forks = Vec::new();
        for _ in requests {
            forks.push(self.engine.fork(self.shared)?);
        }
        let sums = self.go_on(requests, &forks, shared);
        for fork in forks {
            self.engine.remove(fork)?;
        }
        sums
    }

    fn go_on(&mut self, requests: &[Likelihood], forks: &[SeqId], shared: usize) -> Result<Vec<f64>, EvalError> {
        let (mut batch, mut rows) = (Vec::new(), Vec::new());
        for (of, (request, fork)) in requests.iter().zip(forks).enumerate() {
            for (at, token) in request.inputs().iter().enumerate().skip(shared) {
                let want_logits = at + 1 >= request.from;
                batch.push(BatchToken { want_logits, ..read(*fork, *token) });
                rows.extend(want_logits.then(|| (of, request.tokens[at + 1])));
            }
        }
        let mut sums = vec![0.0; requests.len()];
        let mut rows = rows.into_iter();
        for piece in batch.chunks(self.chunk) {
            let logits = self.engine.forward(piece)?;
            for (row, (of, target)) in (0..logits.rows()).zip(&mut rows) {
                let logits = logits.row(row);
                let logit = logits.get(target as usize).copied().unwrap_or(f32::NEG_INFINITY);
                sums[of] += f64::from(logit) - log_sum_exp(logits);
            }
        }
        Ok(sums)
    }
}

fn read(sequence: SeqId, token: u32) -> BatchToken {
    BatchToken { sequence, token, want_logits: false }
}

/// Tokens that all begin with and that none needs the logits of.
fn shared_prefix(requests: &[Likelihood]) -> usize {
    let Some((first, others)) = requests.split_first() else { return 0 };
    let needed = requests.iter().map(|request| request.from - 1).min().unwrap_or(0);
    let common = |other: &Likelihood| first.inputs().iter().zip(other.inputs()).take_while(|(a, b)| a == b).count();
    others.iter().map(common).min().unwrap_or(usize::MAX).min(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tokens: &[u32], from: usize) -> Likelihood {
        Likelihood { tokens: tokens.to_vec(), from }
    }

    #[test]
    fn what_is_shared_ends_before_the_first_prediction() {
        assert_eq!(shared_prefix(&[request(&[1, 2, 3, 4], 3), request(&[1, 2, 3, 5, 6], 3)]), 2);
        assert_eq!(shared_prefix(&[request(&[1, 2, 3, 4], 3), request(&[1, 9, 3, 5, 6], 3)]), 1);
        assert_eq!(shared_prefix(&[request(&[1, 2, 3, 4], 1)]), 0);
    }

    #[test]
    fn windows_predict_each_token_once() {
        let all: Vec<u32> = (0..8).collect();
        let cut = windows(&all, 3);
        assert_eq!(cut, [request(&[0, 1, 2, 3], 1), request(&[3, 4, 5, 6], 1), request(&[4, 5, 6, 7], 3)]);
        assert_eq!(windows(&all, 20), [request(&all, 1)]);
        assert_eq!(windows(&all[..1], 3), []);
    }
}
