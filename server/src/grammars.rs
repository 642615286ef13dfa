//! Grammars that requests have asked for, compiled once: many requests ask for the same.

use std::sync::{Mutex, PoisonError};

use tcrt::Result;
use tcrt::grammar::{Form, Grammar};

/// A grammar as a request says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Form(Form),
    /// In GBNF.
    Grammar(String),
}

const MOST: usize = 32;

#[derive(Default)]
pub struct Grammars {
    /// The one used longest ago first.
    kept: Mutex<Vec<(Said, Grammar)>>,
}

impl Grammars {
    pub fn get(&self, said: &Said) -> Result<Grammar> {
        if let Some(grammar) = self.find(said) {
            return Ok(grammar);
        }
        let grammar = match said {
            Said::Form(form) => Grammar::form(form)?,
            Said::Grammar(text) => Grammar::gbnf(text)?,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((said.clone(), grammar.clone()));
        let excess = kept.len().saturating_sub(MOST);
        kept.drain(..excess);
        Ok(grammar)
    }

    fn find(&self, said: &Said) -> Option<Grammar> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().rposition(|(other, _)| other == said)?;
        let found = kept.remove(index);
        let grammar = found.1.clone();
        kept.push(found);
        Some(grammar)
    }
}
