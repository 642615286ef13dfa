//! Sequences kept after their replies: what begins like one of them need not be run again.

use tcrt::{Engine, SeqId};

/// Beginnings shorter than this are run again: sharing one costs a copy of a block.
pub const WORTH_SHARING: usize = 16;

pub struct Prefixes {
    most: usize,
    most_tokens: usize,
    /// The one used longest ago first.
    kept: Vec<Kept>,
}

pub struct Kept {
    pub sequence: SeqId,
    /// What the sequence holds.
    pub tokens: Vec<u32>,
}

/// How many tokens two texts begin with alike.
pub fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Prefixes {
    /// Keeps so many sequences that have no more tokens than this together.
    pub fn new(most: usize, most_tokens: usize) -> Prefixes {
        Prefixes { most, most_tokens, kept: Vec::new() }
    }

    /// Which one has the most in common with `prompt`, and how much.
    pub fn best(&self, prompt: &[u32]) -> Option<(usize, usize)> {
        let alike = self.kept.iter().map(|kept| common(&kept.tokens, prompt)).enumerate();
        alike.max_by_key(|(_, common)| *common)
    }

    /// A sequence that holds the first `len` tokens of this one: itself, where it has no others.
    pub fn take(&mut self, index: usize, len: usize, engine: &mut Engine) -> tcrt::Result<SeqId> {
        let kept = self.kept.remove(index);
        if kept.tokens.len() == len {
            return Ok(kept.sequence);
        }
        let sequence = kept.sequence;
        self.kept.push(kept);
        let copy = engine.fork(sequence)?;
        engine.truncate(copy, len)?;
        Ok(copy)
    }

    /// Keeps a sequence, unless another one goes on from it; those it goes on from, and the oldest beyond the limit, are removed.
    pub fn keep(&mut self, new: Kept, engine: &mut Engine) -> tcrt::Result<()> {
        let covered = |old: &Kept| old.tokens.len() > new.tokens.len() && old.tokens.starts_with(&new.tokens);
        if new.tokens.len() < WORTH_SHARING || self.kept.iter().any(covered) {
            return engine.remove(new.sequence);
        }
        let mut removed: Vec<Kept> = self.kept.extract_if(.., |old| new.tokens.starts_with(&old.tokens)).collect();
        self.kept.push(new);
        removed.extend(self.kept.drain(..self.excess()));
        removed.into_iter().try_for_each(|old| engine.remove(old.sequence))
    }

    /// How many of the oldest are too many.
    fn excess(&self) -> usize {
        let (mut count, mut tokens) = (0, 0);
        let fits = |kept: &&Kept| {
            (count, tokens) = (count + 1, tokens + kept.tokens.len());
            count <= self.most && tokens <= self.most_tokens
        };
        self.kept.len() - self.kept.iter().rev().take_while(fits).count()
    }
}
