//! Byte-pair encoding: neighbours merge in the order of their priority, the leftmost first among equals. A queue over a
//! linked list keeps it O(n log n) for a piece of any length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::merges::{Merge, Merges};
use super::rules::{Rules, Symbols};
use super::vocab::{Kind, Vocab};

const NONE: usize = usize::MAX;

/// A stretch of the piece that is one token so far, or one character that no token covers.
#[derive(Clone, Copy)]
struct Symbol {
    id: Option<u32>,
    start: usize,
    end: usize,
    prev: usize,
    next: usize,
    /// The merge with `next` that is possible now. Queue entries that disagree with it are stale.
    merge: Option<Merge>,
}

/// Encodes pieces, keeping its buffers from one to the next.
pub struct Encoder<'t> {
    vocab: &'t Vocab,
    merges: &'t Merges,
    rules: &'t Rules,
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<(u32, usize)>>,
}

impl<'t> Encoder<'t> {
    pub fn new(vocab: &'t Vocab, merges: &'t Merges, rules: &'t Rules) -> Self {
        Encoder { vocab, merges, rules, symbols: Vec::new(), queue: BinaryHeap::new() }
    }

    pub fn encode(&mut self, piece: &str, out: &mut Vec<u32>) {
        if self.rules.whole_piece_first
            && let Some(id) = self.vocab.find(piece.as_bytes(), Kind::Normal)
        {
            out.push(id);
            return;
        }
        self.split(piece);
        self.merge(piece.as_bytes());
        self.emit(piece, out);
    }

    /// The symbols that merging starts from. A byte without a token is left out where there is no unknown token, as the
    /// reference does.
    fn split(&mut self, piece: &str) {
        self.symbols.clear();
        match self.rules.symbols {
            Symbols::Bytes => {
                for (start, byte) in piece.bytes().enumerate() {
                    let id = self.vocab.byte(byte);
                    if id.or(self.rules.unk).is_some() {
                        self.add(id, start, start + 1);
                    }
                }
            }
            Symbols::Chars => {
                for (start, c) in piece.char_indices() {
                    let end = start + c.len_utf8();
                    self.add(self.vocab.id(&piece.as_bytes()[start..end]), start, end);
                }
            }
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
    }

    fn add(&mut self, id: Option<u32>, start: usize, end: usize) {
        let at = self.symbols.len();
        let prev = at.checked_sub(1).unwrap_or(NONE);
        self.symbols.push(Symbol { id, start, end, prev, next: at + 1, merge: None });
    }

    fn merge(&mut self, piece: &[u8]) {
        self.queue.clear();
        for at in 0..self.symbols.len() {
            self.offer(at, piece);
        }
        while let Some(Reverse((priority, at))) = self.queue.pop() {
            let left = self.symbols[at];
            let Some(merge) = left.merge.filter(|merge| merge.priority == priority) else { continue };
            let right = self.symbols[left.next];
            self.symbols[left.next].merge = None;
            self.symbols[at] = Symbol { id: Some(merge.id), end: right.end, next: right.next, ..left };
            if right.next != NONE {
                self.symbols[right.next].prev = at;
            }
            self.offer(at, piece);
            if left.prev != NONE {
                self.offer(left.prev, piece);
            }
        }
    }

    /// Looks up what the symbol at `at` and its next can become, and queues it.
    fn offer(&mut self, at: usize, piece: &[u8]) {
        let left = self.symbols[at];
        let merge = self.symbols.get(left.next).and_then(|right| {
            let joined = piece.get(left.start..right.end)?;
            self.merges.find(self.vocab, left.id, right.id, joined)
        });
        self.symbols[at].merge = merge;
        if let Some(merge) = merge {
            self.queue.push(Reverse((merge.priority, at)));
        }
    }

    fn emit(&self, piece: &str, out: &mut Vec<u32>) {
        let mut after_unknown = false;
        let mut at = if self.symbols.is_empty() { NONE } else { 0 };
        while let Some(symbol) = self.symbols.get(at) {
            at = symbol.next;
            if let Some(id) = symbol.id {
                out.push(id);
                after_unknown = false;
                continue;
            }
            let bytes = piece.as_bytes().get(symbol.start..symbol.end).unwrap_or_default();
            let known = out.len();
            out.extend(bytes.iter().map_while(|byte| self.vocab.byte(*byte)));
            if out.len() - known == bytes.len() {
                after_unknown = false;
                continue;
            }
            out.truncate(known);
            if !(after_unknown && self.rules.fuse_unknown) {
                out.extend(self.rules.unk);
            }
            after_unknown = true;
        }
    }
}
