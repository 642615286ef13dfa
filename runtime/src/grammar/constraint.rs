//! One reply on its way through a grammar.

use super::Grammar;
use super::automaton::{Automaton, DEAD, State};
use super::mask::{self, Mask, Vocabulary};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Says which tokens may come next, and follows those that do.
#[derive(Debug)]
pub struct Constraint {
    vocabulary: Vocabulary,
    automaton: Automaton,
    pub(super) state: State,
    start: State,
    stop_tokens: Vec<u32>,
    /// Special tokens that are text here.
    shown: Vec<(u32, Vec<u8>)>,
    pub(super) masks: HashMap<State, Mask>,
}

/// Masks that are kept; a reply that needs more (one that counts far) computes them again.
const MAX_MASKS: usize = 1 << 10;

impl Constraint {
    /// `stop_tokens` may come where the grammar lets the reply end.
    pub fn new(grammar: &Grammar, tokenizer: &Tokenizer, stop_tokens: &[u32]) -> Result<Constraint> {
        let tokens = tokenizer.by_text();
        let (automaton, state) = Automaton::new(Arc::clone(&grammar.rules), tokens.longest())?;
        let (vocabulary, stop_tokens) = (Vocabulary::new(tokens), stop_tokens.to_vec());
        let (shown, masks) = (Vec::new(), HashMap::new());
        Ok(Constraint { vocabulary, automaton, state, start: state, stop_tokens, shown, masks })
    }

    /// These special tokens are their text, which the grammar may ask for.
    #[must_use]
    pub fn showing(mut self, tokenizer: &Tokenizer, special: &[u32]) -> Self {
        let text = |id: &u32| Some((*id, tokenizer.token_bytes(*id)?.to_vec()));
        self.shown = special.iter().filter_map(text).collect();
        self
    }

    /// Whether it is one for this grammar, these stop tokens and these special tokens: then it can be used again.
    pub fn is_for(&self, grammar: &Grammar, stop_tokens: &[u32], special: &[u32]) -> bool {
        let same = Arc::ptr_eq(&self.automaton.rules, &grammar.rules) && self.stop_tokens == stop_tokens;
        same && self.shown.iter().map(|(id, _)| id).eq(special)
    }

    /// Memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.automaton.bytes() + self.vocabulary.bytes() + self.masks.len() * self.vocabulary.tokens.size() / 8
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
        mask::apply(self.mask()?, logits);
        Ok(())
    }

    /// Takes the token that came. One that ends the reply changes nothing.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        if self.stop_tokens.contains(&token) {
            return Ok(());
        }
        let special = || self.shown.iter().find(|(id, _)| *id == token).map(|(_, text)| text.as_slice());
        let text = self.vocabulary.tokens.text(token).or_else(special).unwrap_or_default().to_vec();
        if text.is_empty() || !self.accept_text(&text)? {
            return Err(Error::invalid_argument(format!("token {token} is not what the grammar allows here")));
        }
        Ok(())
    }

    /// Takes text that came. Where it is not what the grammar allows, nothing changes.
    pub fn accept_text(&mut self, text: &[u8]) -> Result<bool> {
        let end = text.iter().try_fold(self.state, |state, byte| self.automaton.step(state, *byte))?;
        self.state = if end == DEAD { self.state } else { end };
        Ok(end != DEAD)
    }

    fn mask(&mut self) -> Result<&[u64]> {
        if self.automaton.is_crowded() {
            [self.start, self.state] = self.automaton.keep([self.start, self.state])?;
            self.masks.clear();
        }
        let state = self.automaton.within(self.state)?;
        if !self.masks.contains_key(&state) {
            if self.masks.len() >= MAX_MASKS {
                self.masks.clear();
            }
            let mask = self.compute(state)?;
            self.masks.insert(state, mask);
        }
        Ok(&self.masks[&state])
    }

    fn compute(&mut self, state: State) -> Result<Mask> {
        let mut mask = self.vocabulary.compute(&mut self.automaton, state)?;
        let size = self.vocabulary.tokens.size();
        for (id, text) in &self.shown {
            let end = text.iter().try_fold(state, |state, byte| self.automaton.step(state, *byte))?;
            if end != DEAD && (*id as usize) < size {
                mask::allow(&mut mask, *id);
            }
        }
        if self.automaton.may_end(state) {
            self.stop_tokens.iter().filter(|id| (**id as usize) < size).for_each(|id| mask::allow(&mut mask, *id));
        }
        Ok(mask)
    }
}
