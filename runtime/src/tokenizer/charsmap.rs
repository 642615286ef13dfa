//! SentencePiece's precompiled normalisation: a double-array trie (as Darts-clone lays it out) from byte strings to
//! their replacements.

use super::added::Matcher;
use super::vocab::Vocab;

/// Longer keys than any map has are not looked for, so that no file can make this slow.
const LONGEST_KEY: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharsMap {
    /// The blob as SentencePiece stores it: u32 length of the trie, the trie, the replacements ending in NUL each.
    blob: Vec<u8>,
    trie: Vec<u32>,
    replacements: usize,
}

impl CharsMap {
    pub fn new(blob: Vec<u8>) -> Result<CharsMap, &'static str> {
        let (len, rest) = blob.split_first_chunk::<4>().ok_or("the charsmap is cut off")?;
        let len = u32::from_le_bytes(*len) as usize;
        let (trie, _) = rest.split_at_checked(len).ok_or("the charsmap's trie is cut off")?;
        let (units, []) = trie.as_chunks::<4>() else { return Err("the charsmap's trie is no whole number of units") };
        let trie = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Ok(CharsMap { trie, replacements: 4 + len, blob })
    }

    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Replaces the longest matches from left to right, but leaves the tokens that `kept` recognises as they are.
    pub fn apply(&self, text: &str, kept: &Matcher, vocab: &Vocab) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let token = kept.longest_at(vocab, rest.as_bytes()).and_then(|id| vocab.bytes(id)).map(<[u8]>::len);
            let (len, replacement) = match (token, self.longest_match(rest.as_bytes())) {
                (None, Some((len, replacement))) if rest.is_char_boundary(len) => (len, Some(replacement)),
                (token, _) => (token.unwrap_or(first.len_utf8()), None),
            };
            let (taken, after) = rest.split_at(len);
            out.push_str(replacement.unwrap_or(taken));
            rest = after;
        }
        out
    }

    /// The length of the longest key that `text` begins with, and what replaces it.
    fn longest_match(&self, text: &[u8]) -> Option<(usize, &str)> {
        let unit = |at: u32| self.trie.get(at as usize).copied();
        let mut at = offset(unit(0)?);
        let mut found = None;
        for (depth, byte) in text.iter().enumerate().take(LONGEST_KEY) {
            at ^= u32::from(*byte);
            let Some(node) = unit(at).filter(|node| node & (1 << 31 | 0xff) == u32::from(*byte)) else { break };
            at ^= offset(node);
            if node >> 8 & 1 == 1 {
                found = unit(at).map(|leaf| (depth + 1, leaf & !(1 << 31)));
            }
        }
        let (len, value) = found?;
        let replacement = self.blob.get(self.replacements.checked_add(value as usize)?..)?;
        let end = replacement.iter().position(|byte| *byte == 0)?;
        Some((len, std::str::from_utf8(replacement.get(..end)?).ok()?))
    }
}

/// How far a unit's children are from it, by exclusive or.
fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}
