//! Guesses at what comes next, which the model then verifies several a call. A guess counts only where it is the token that was
//! chosen anyway, so the reply does not depend on the draft; only its speed does.

use super::Session;
use crate::engine::EngineOptions;
use crate::model::Model;
use crate::sampling::{Sampler, SamplerOptions};
use crate::{Error, Result};
use std::sync::Arc;

pub trait Draft {
    /// Appends at most `most` tokens that may follow `history`, the prompt and the reply so far.
    fn guess(&mut self, history: &[u32], most: usize, guesses: &mut Vec<u32>) -> Result<()>;

    /// How many of the last guesses were right.
    fn learn(&mut self, guessed: usize, right: usize);
}

/// Guesses nothing.
pub struct NoDraft;

impl Draft for NoDraft {
    fn guess(&mut self, _: &[u32], _: usize, _: &mut Vec<u32>) -> Result<()> {
        Ok(())
    }

    fn learn(&mut self, _: usize, _: usize) {}
}

/// How many tokens to guess: more while guesses are right, fewer once they are not, since every wrong one was work for nothing.
#[derive(Debug)]
struct Length {
    now: usize,
    least: usize,
    most: usize,
}

impl Length {
    fn new(least: usize, most: usize) -> Length {
        let most = most.max(1);
        Length { now: least.min(most), least: least.min(most), most }
    }

    fn learn(&mut self, guessed: usize, right: usize) {
        if guessed == 0 {
            return;
        }
        let next = if right == guessed { 2 * self.now } else { right + 1 };
        self.now = next.clamp(self.least, self.most);
    }
}

/// Prompt lookup: where the text's last tokens stood before, what followed them then. It costs next to nothing, and is right where a
/// reply quotes, edits or summarizes its prompt.
#[derive(Debug)]
pub struct Lookup {
    length: Length,
}

/// A match must be at least so long to be worth a guess, and a longer one is not looked for.
const MATCHES: std::ops::RangeInclusive<usize> = 2..=4;

impl Lookup {
    /// Guesses at most `most` tokens at a time.
    pub fn new(most: usize) -> Lookup {
        Lookup { length: Length::new(3, most) }
    }

    /// Where the text goes on after the last earlier place with the same ending, of the longest ending that there is.
    fn find(history: &[u32]) -> Option<usize> {
        MATCHES.rev().find_map(|size| {
            let ending = history.len().checked_sub(size).map(|at| &history[at..])?;
            let before = &history[..history.len() - 1];
            let at = before.windows(size).rposition(|window| window == ending)?;
            Some(at + size)
        })
    }
}

impl Draft for Lookup {
    fn guess(&mut self, history: &[u32], most: usize, guesses: &mut Vec<u32>) -> Result<()> {
        if let Some(at) = Lookup::find(history) {
            let period = history.len() - at;
            let count = self.length.now.min(most);
            // A text that repeats itself goes on repeating: past its end, the guesses are what is copied.
            (0..count).for_each(|i| guesses.push(history[at + i % period]));
        }
        Ok(())
    }

    fn learn(&mut self, guessed: usize, right: usize) {
        self.length.learn(guessed, right);
    }
}

/// A smaller model of the same vocabulary, which guesses greedily.
pub struct DraftModel {
    session: Session,
    sampler: Sampler,
    length: Length,
}

impl DraftModel {
    /// A draft for `target` that guesses at most `most` tokens at a time.
    pub fn new(model: Arc<Model>, target: &Model, options: &EngineOptions, most: usize) -> Result<DraftModel> {
        let (ours, theirs) = (model.info().vocab, target.info().vocab);
        if ours != theirs {
            let name = model.name();
            let message = format!("{name}: a vocabulary of {ours} tokens cannot draft for one of {theirs}");
            return Err(Error::invalid_argument(message));
        }
        let context = options.context.min(model.info().max_positions);
        let session = Session::new(model, &EngineOptions { context, max_rows: 1, ..options.clone() })?;
        Ok(DraftModel { session, sampler: Sampler::new(SamplerOptions::greedy(), ours)?, length: Length::new(2, most) })
    }
}

impl Draft for DraftModel {
    fn guess(&mut self, history: &[u32], most: usize, guesses: &mut Vec<u32>) -> Result<()> {
        let room = self.session.context().saturating_sub(history.len());
        let count = self.length.now.min(most).min(room);
        if count == 0 {
            return Ok(());
        }
        let kept = self.session.keep_common(history)?;
        self.session.prefill(&history[kept..])?;
        for i in 0..count {
            if i > 0 {
                self.session.decode(guesses[guesses.len() - 1])?;
            }
            guesses.push(self.sampler.sample(self.session.last_logits()?, &[])?);
        }
        Ok(())
    }

    fn learn(&mut self, guessed: usize, right: usize) {
        self.length.learn(guessed, right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(history: &[u32], most: usize) -> Vec<u32> {
        let mut guesses = Vec::new();
        Lookup::new(8).guess(history, most, &mut guesses).unwrap();
        guesses
    }

    #[test]
    fn what_followed_the_longest_and_last_equal_ending_is_guessed() {
        assert_eq!(guess(&[1, 2, 3, 4, 9, 1, 2], 8), [3, 4, 9]);
        // Of two places with the ending 1 2, the one with 7 before it too.
        assert_eq!(guess(&[7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2], 2), [5, 8]);
        assert_eq!(guess(&[1, 2, 5, 1, 2, 6, 1, 2], 1), [6]);
        // A repetition goes on.
        assert_eq!(guess(&[4, 4, 4], 8), [4, 4, 4]);
        assert_eq!(guess(&[4, 5, 4, 5], 8), [4, 5, 4]);
        for nothing in [&[][..], &[1], &[1, 2], &[1, 2, 3, 2]] {
            assert_eq!(guess(nothing, 8), []);
        }
    }

    #[test]
    fn guesses_grow_while_right_and_shrink_when_wrong() {
        let mut length = Length::new(3, 8);
        let mut after = |guessed, right| {
            length.learn(guessed, right);
            length.now
        };
        assert_eq!([after(3, 3), after(6, 6), after(8, 8), after(8, 4), after(5, 0), after(0, 0)], [6, 8, 8, 5, 3, 3]);
    }
}
