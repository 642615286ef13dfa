//! The tokens that may come in a state of the automaton, as bits.

use super::automaton::{Automaton, DEAD, State};
use crate::Result;
use crate::tokenizer::{ByText, Token};
use std::sync::Arc;

pub type Mask = Box<[u64]>;

pub fn allow(mask: &mut [u64], id: u32) {
    mask[id as usize / 64] |= 1 << (id % 64);
}

/// Sets the logits of tokens that the mask does not allow to minus infinity.
pub fn apply(mask: &[u64], logits: &mut [f32]) {
    // Rows that the tokenizer has no token for stand for nothing.
    let words = mask.iter().chain(std::iter::repeat(&0));
    for (word, logits) in words.zip(logits.chunks_mut(64)) {
        match word {
            &u64::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            word => keep(*word, logits),
        }
    }
}

/// Eight at a time and without branches, so that compilers turn it into vectors.
fn keep(word: u64, logits: &mut [f32]) {
    let (eights, rest) = logits.as_chunks_mut::<8>();
    let mut bytes = word.to_le_bytes().into_iter();
    for (eight, byte) in eights.iter_mut().zip(&mut bytes) {
        keep_each(byte, eight);
    }
    if let Some(byte) = bytes.next() {
        keep_each(byte, rest);
    }
}

#[inline(always)]
fn keep_each(byte: u8, logits: &mut [f32]) {
    for (bit, logit) in logits.iter_mut().enumerate() {
        *logit = if byte & 1 << bit == 0 { f32::NEG_INFINITY } else { *logit };
    }
}

/// The tokens that masks are of.
#[derive(Debug)]
pub struct Vocabulary {
    pub tokens: Arc<ByText>,
    sieve: Sieve,
}

/// What the runs of a state decide without reading. It is kept, for the states within a string whose characters are counted have the
/// same.
#[derive(Debug, Default)]
struct Sieve {
    runs: Vec<u128>,
    allowed: Mask,
    /// Those that must be read, each with what it has in common with the last of them.
    rest: Vec<Token>,
}

impl Vocabulary {
    pub fn new(tokens: Arc<ByText>) -> Vocabulary {
        Vocabulary { tokens, sieve: Sieve::default() }
    }

    /// Memory that it takes beside the tokens, about.
    pub fn bytes(&self) -> usize {
        self.sieve.allowed.len() * 8 + self.sieve.rest.len() * size_of::<Token>()
    }

    /// The tokens whose text goes on from a state.
    pub fn compute(&mut self, automaton: &mut Automaton, from: State) -> Result<Mask> {
        let runs = runs(automaton, from)?;
        if runs != self.sieve.runs {
            self.sieve = Sieve::new(runs, &self.tokens);
        }
        let mut mask = self.sieve.allowed.clone();
        // The states along the last token that was read, one before each byte; how far it is the same as the token at hand.
        let (mut path, mut same) = (vec![from], 0);
        let mut dead_from = usize::MAX;
        for token in &self.sieve.rest {
            same = same.min(token.common as usize);
            if same > dead_from {
                continue;
            }
            let bytes = self.tokens.bytes(token);
            path.truncate(same + 1);
            dead_from = usize::MAX;
            for (at, byte) in bytes.iter().enumerate().skip(path.len() - 1) {
                let next = automaton.step(path[at], *byte)?;
                if next == DEAD {
                    dead_from = at;
                    break;
                }
                path.push(next);
            }
            same = bytes.len();
            if dead_from == usize::MAX {
                allow(&mut mask, token.id);
            }
        }
        Ok(mask)
    }
}

impl Sieve {
    fn new(runs: Vec<u128>, tokens: &ByText) -> Sieve {
        let mut allowed = vec![0u64; tokens.size().div_ceil(64)].into_boxed_slice();
        let (mut rest, mut common) = (Vec::with_capacity(tokens.tokens().len()), u32::MAX);
        for (token, ascii) in tokens.tokens().iter().zip(tokens.ascii()) {
            common = common.min(token.common);
            let run = runs.get(tokens.bytes(token).len() - 1).copied().unwrap_or(0);
            if *ascii != 0 && ascii & !run == 0 {
                allow(&mut allowed, token.id);
            } else {
                rest.push(token.after(common));
                common = u32::MAX;
            }
        }
        Sieve { runs, allowed, rest }
    }
}

/// Fewer characters than this spare little reading.
const FEWEST: u32 = 16;
/// Tokens of more characters are read.
const LONGEST_RUN: usize = 32;

/// For texts of one ASCII character, of two and so on: those of which any such text goes on, as most do within a string, even one
/// whose characters are counted. Tokens of them need no reading.
fn runs(automaton: &mut Automaton, from: State) -> Result<Vec<u128>> {
    let (mut state, mut any, mut runs) = (from, u128::MAX, Vec::new());
    while runs.len() < LONGEST_RUN && any != 0 {
        let (next, lead_there) = usual(automaton, state)?;
        any &= lead_there;
        runs.push(any);
        state = next;
    }
    Ok(runs)
}

/// The state that most ASCII characters lead to, and which do; a dead one where it is few.
fn usual(automaton: &mut Automaton, state: State) -> Result<(State, u128)> {
    let mut found: Vec<(State, u128)> = Vec::new();
    for byte in 0..128 {
        let next = automaton.step(state, byte)?;
        match found.iter_mut().find(|(state, _)| *state == next) {
            Some((_, bytes)) => *bytes |= 1 << byte,
            None => found.push((next, 1 << byte)),
        }
    }
    let many = found.into_iter().filter(|(state, bytes)| *state != DEAD && bytes.count_ones() >= FEWEST);
    Ok(many.max_by_key(|(_, bytes)| bytes.count_ones()).unwrap_or((DEAD, 0)))
}
