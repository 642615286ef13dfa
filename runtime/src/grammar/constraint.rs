//! One reply on its way through a grammar.

use super::Grammar;
use super::automaton::{Automaton, DEAD, State};
use crate::tokenizer::{ByText, Tokenizer};
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Says which tokens may come next, and follows those that do.
#[derive(Debug)]
pub struct Constraint {
    tokens: Arc<ByText>,
    automaton: Automaton,
    pub(super) state: State,
    start: State,
    stop_tokens: Vec<u32>,
    masks: HashMap<State, Box<[u64]>>,
}

/// Masks that are kept; a reply that needs more (one that counts far) computes them again.
const MAX_MASKS: usize = 1 << 10;

impl Constraint {
    /// `stop_tokens` may come where the grammar lets the reply end.
    pub fn new(grammar: &Grammar, tokenizer: &Tokenizer, stop_tokens: &[u32]) -> Result<Constraint> {
        let (automaton, state) = Automaton::new(Arc::clone(&grammar.rules))?;
        let (tokens, stop_tokens) = (tokenizer.by_text(), stop_tokens.to_vec());
        Ok(Constraint { tokens, automaton, state, start: state, stop_tokens, masks: HashMap::new() })
    }

    /// A reply from the beginning; what was learnt of the grammar stays.
    pub fn restart(&mut self) {
        self.state = self.start;
    }

    /// Whether the reply is whole and nothing may follow.
    pub fn is_over(&self) -> bool {
        !self.automaton.goes_on(self.state)
    }

    /// Whether the reply may end here.
    pub fn may_end(&self) -> bool {
        self.automaton.may_end(self.state)
    }

    /// Sets the logits of tokens that may not come to minus infinity.
    pub fn apply(&mut self, logits: &mut [f32]) -> Result<()> {
        let mask = self.mask()?;
        // Rows that the tokenizer has no token for stand for nothing.
        let words = mask.iter().chain(std::iter::repeat(&0));
        for (word, logits) in words.zip(logits.chunks_mut(64)) {
            match word {
                &u64::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        *logit = if word >> bit & 1 == 1 { *logit } else { f32::NEG_INFINITY };
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the token that came. One that ends the reply changes nothing.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        if self.stop_tokens.contains(&token) {
            return Ok(());
        }
        let text = self.tokens.text(token).unwrap_or_default();
        let end = text.iter().try_fold(self.state, |state, byte| self.automaton.step(state, *byte))?;
        if text.is_empty() || end == DEAD {
            return Err(Error::invalid_argument(format!("token {token} is not what the grammar allows here")));
        }
        self.state = end;
        Ok(())
    }

    fn mask(&mut self) -> Result<&[u64]> {
        if !self.masks.contains_key(&self.state) {
            if self.masks.len() >= MAX_MASKS {
                self.masks.clear();
            }
            let mask = self.compute()?;
            self.masks.insert(self.state, mask);
        }
        Ok(&self.masks[&self.state])
    }

    fn compute(&mut self) -> Result<Box<[u64]>> {
        let mut mask = vec![0u64; self.tokens.size().div_ceil(64)].into_boxed_slice();
        let mut allow = |id: u32| mask[id as usize / 64] |= 1 << (id % 64);
        let tokens = Arc::clone(&self.tokens);
        let stays = self.stays()?;
        // The states along the last token that was read, one before each byte; how far it is the same as the token at hand.
        let (mut path, mut same) = (vec![self.state], 0);
        let mut dead_from = usize::MAX;
        for token in tokens.tokens() {
            same = same.min(token.common as usize);
            if token.ascii.is_some_and(|ascii| ascii & !stays == 0) {
                allow(token.id);
                continue;
            }
            if same > dead_from {
                continue;
            }
            path.truncate(same + 1);
            let bytes = tokens.bytes(token);
            dead_from = usize::MAX;
            for (at, byte) in bytes.iter().enumerate().skip(path.len() - 1) {
                let next = self.automaton.step(path[at], *byte)?;
                if next == DEAD {
                    dead_from = at;
                    break;
                }
                path.push(next);
            }
            same = bytes.len();
            if dead_from == usize::MAX {
                allow(token.id);
            }
        }
        if self.may_end() {
            self.stop_tokens.iter().filter(|id| (**id as usize) < tokens.size()).for_each(|id| allow(*id));
        }
        Ok(mask)
    }

    /// The ASCII characters that change nothing, as most do within a string: tokens of such need no reading.
    fn stays(&mut self) -> Result<u128> {
        let mut stays = 0;
        for byte in 0..128 {
            if self.automaton.step(self.state, byte)? == self.state {
                stays |= 1 << byte;
            }
        }
        Ok(stays)
    }
}
