//! Tokens that are recognised where they are written, the longest first.

use super::Special;
use super::vocab::{Kind, Vocab};

/// The tokens to look for, ordered by their bytes.
#[derive(Clone, Debug)]
pub struct Matcher {
    sorted: Vec<u32>,
    /// Which bytes one of them begins with.
    first: [bool; 256],
}

pub enum Part<'t> {
    Text(&'t str),
    Token(u32),
}

impl Matcher {
    pub fn new(vocab: &Vocab, wanted: impl Fn(Kind) -> bool) -> Matcher {
        let ids = (0..).zip(vocab.kinds()).filter(|(_, kind)| wanted(**kind)).map(|(id, _)| id);
        // Only what is text and what the index finds can be written in a text.
        let mut sorted: Vec<u32> = ids
            .filter(|id| vocab.bytes(*id).is_some_and(|b| !b.is_empty() && std::str::from_utf8(b).is_ok()))
            .filter(|id| vocab.bytes(*id).and_then(|bytes| vocab.id(bytes)) == Some(*id))
            .collect();
        sorted.sort_by_key(|id| vocab.bytes(*id));
        let mut first = [false; 256];
        for byte in sorted.iter().filter_map(|id| vocab.bytes(*id)?.first()) {
            first[usize::from(*byte)] = true;
        }
        Matcher { sorted, first }
    }

    /// Cuts `text` at the tokens recognised in it. A special token that is not asked for stays text as a whole.
    pub fn parts<'t>(&'t self, vocab: &'t Vocab, text: &'t str, special: Special) -> Parts<'t> {
        Parts { matcher: self, vocab, special, rest: text, found: None }
    }

    /// The longest token that `text` begins with.
    pub fn longest_at(&self, vocab: &Vocab, text: &[u8]) -> Option<u32> {
        let mut range = self.sorted.as_slice();
        let mut longest = None;
        for (depth, byte) in text.iter().enumerate() {
            let at = |id: &u32| vocab.bytes(*id).and_then(|bytes| bytes.get(depth)).copied();
            let from = range.partition_point(|id| at(id) < Some(*byte));
            let to = range.partition_point(|id| at(id) <= Some(*byte));
            range = range.get(from..to).unwrap_or_default();
            match range.first() {
                Some(id) if vocab.bytes(*id).is_some_and(|bytes| bytes.len() == depth + 1) => longest = Some(*id),
                Some(_) => {}
                None => break,
            }
        }
        longest
    }
}

pub struct Parts<'t> {
    matcher: &'t Matcher,
    vocab: &'t Vocab,
    special: Special,
    rest: &'t str,
    /// The token that follows the text given last.
    found: Option<u32>,
}

impl<'t> Iterator for Parts<'t> {
    type Item = Part<'t>;

    fn next(&mut self) -> Option<Part<'t>> {
        if let Some(id) = self.found.take() {
            return Some(Part::Token(id));
        }
        if self.rest.is_empty() {
            return None;
        }
        let (text, token, rest) = self.next_token().unwrap_or((self.rest, None, ""));
        self.rest = rest;
        match token {
            Some(id) if text.is_empty() => Some(Part::Token(id)),
            token => {
                self.found = token;
                Some(Part::Text(text))
            }
        }
    }
}

impl<'t> Parts<'t> {
    /// The text before the next recognised token, the token, and what follows it.
    fn next_token(&self) -> Option<(&'t str, Option<u32>, &'t str)> {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        loop {
            at += bytes.get(at..)?.iter().position(|byte| self.matcher.first[usize::from(*byte)])?;
            let Some(id) = self.matcher.longest_at(self.vocab, bytes.get(at..)?) else {
                at += 1;
                continue;
            };
            let end = at + self.vocab.bytes(id)?.len();
            if self.special == Special::Parse || !self.vocab.kind(id)?.is_special() {
                return Some((self.rest.get(..at)?, Some(id), self.rest.get(end..)?));
            }
            at = end;
        }
    }
}
