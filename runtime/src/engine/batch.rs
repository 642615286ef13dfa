//! One call's tokens, checked and laid out as kernels read them.

use crate::kv::{KvCache, SeqId};
use crate::{Error, ErrorKind, Result};
use std::ptr;
use tc_kernels::abi::{Call, SEGMENT};

/// A token to append to a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchToken {
    pub sequence: SeqId,
    pub token: u32,
    pub want_logits: bool,
}

pub struct Batch {
    chunk: usize,
    max_rows: usize,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    sequences: Vec<u32>,
    rows: Vec<u32>,
    /// For each slot, how many of the call's tokens it gets; zero between calls but for those in `growing`.
    counts: Vec<u32>,
    growing: Vec<SeqId>,
}

impl Batch {
    pub fn new(chunk: usize, max_rows: usize, sequences: usize) -> Batch {
        Batch {
            chunk,
            max_rows,
            tokens: Vec::with_capacity(chunk),
            positions: Vec::with_capacity(chunk),
            sequences: Vec::with_capacity(chunk),
            rows: Vec::with_capacity(max_rows),
            counts: vec![0; sequences],
            growing: Vec::new(),
        }
    }

    /// Replaces the call by these tokens: at least one, each of the vocabulary, each with a sequence that has room for it.
    pub fn set(&mut self, batch: &[BatchToken], kv: &KvCache, vocab: usize) -> Result<()> {
        self.clear();
        if batch.is_empty() {
            return Err(Error::invalid_argument("a call without tokens"));
        }
        limit("tokens", batch.len(), self.chunk)?;
        limit("rows of logits", batch.iter().filter(|token| token.want_logits).count(), self.max_rows)?;
        let set = batch.iter().enumerate().try_for_each(|(i, token)| self.push(i, *token, kv, vocab));
        if set.is_err() {
            self.clear();
        }
        set
    }

    fn clear(&mut self) {
        self.growing.drain(..).for_each(|sequence| self.counts[sequence.slot()] = 0);
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.rows.clear();
    }

    fn push(&mut self, i: usize, token: BatchToken, kv: &KvCache, vocab: usize) -> Result<()> {
        let BatchToken { sequence, token, want_logits } = token;
        if token as usize >= vocab {
            let message = format!("token {token} (number {i} of the call) is outside the vocabulary of {vocab}");
            return Err(Error::invalid_argument(message));
        }
        let len = kv.len(sequence)?;
        let count = &mut self.counts[sequence.slot()];
        let position = len + *count as usize;
        if position >= kv.shape().context {
            let context = kv.shape().context;
            let message = format!("token number {i} of the call does not fit its sequence: the context is {context}");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        if *count == 0 {
            self.growing.push(sequence);
        }
        *count += 1;
        self.tokens.push(token);
        self.positions.push(position as u32);
        self.sequences.push(sequence.slot() as u32);
        if want_logits {
            self.rows.push(i as u32);
        }
        Ok(())
    }

    /// By how much each sequence of the call grows.
    pub fn growth(&self) -> impl Iterator<Item = (SeqId, usize)> {
        self.growing.iter().map(|sequence| (*sequence, self.counts[sequence.slot()] as usize))
    }

    /// Which tokens want logits.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|row| *row as usize)
    }

    /// The call as kernels read it; it points into this batch and the cache, and to `sums`, where contexts may be cut.
    pub fn call(&self, kv: &KvCache, sums: Option<*mut u8>) -> Call {
        let shape = kv.shape();
        let seen = match self.positions[..] {
            [position] if sums.is_some() && position as usize >= SEGMENT => position + 1,
            _ => 0,
        };
        Call {
            n: self.tokens.len() as u32,
            rows: self.rows.len() as u32,
            tokens: self.tokens.as_ptr(),
            positions: self.positions.as_ptr(),
            sequences: self.sequences.as_ptr(),
            out_rows: self.rows.as_ptr(),
            kv: kv.memory().as_ptr(),
            kv_block_bytes: shape.block_bytes,
            tables: kv.tables().as_ptr(),
            table_stride: shape.blocks_each as u32,
            kv_dtype: shape.dtype as u32,
            seen,
            sums: sums.unwrap_or(ptr::null_mut()),
        }
    }
}

fn limit(what: &str, count: usize, most: usize) -> Result<()> {
    if count <= most {
        return Ok(());
    }
    Err(Error::new(ErrorKind::LimitExceeded, format!("{count} {what} in one call; this engine takes at most {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{KvShape, KvType};
    use crate::program::Cache;

    /// What the call of the last tokens of some sequences, so long after them, says of cut contexts.
    fn seen(lengths: &[usize], cut: bool) -> u32 {
        let cache = Cache { layers: 1, kv_heads: 1, head_dim: 8 };
        let mut kv = KvCache::new(KvShape::new(cache, KvType::F16, 1024, lengths.len())).unwrap();
        let mut batch = Batch::new(8, 8, lengths.len());
        let mut tokens = Vec::new();
        for length in lengths {
            let sequence = kv.add().unwrap();
            kv.grow(sequence, length - 1).unwrap();
            kv.advance(sequence, length - 1);
            tokens.push(BatchToken { sequence, token: 0, want_logits: true });
        }
        batch.set(&tokens, &kv, 1).unwrap();
        let mut sums = 0;
        batch.call(&kv, cut.then_some(&raw mut sums)).seen
    }

    #[test]
    fn contexts_are_cut_for_one_token_after_the_first_segment() {
        assert_eq!(
            [seen(&[SEGMENT], true), seen(&[SEGMENT + 1], true), seen(&[1000], true)],
            [0, SEGMENT as u32 + 1, 1000]
        );
        assert_eq!([seen(&[1000], false), seen(&[1000, 1000], true)], [0, 0]);
    }
}
