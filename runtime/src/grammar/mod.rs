//! Replies of a given form: a grammar (GBNF, or made from a JSON schema) as a mask of the tokens that may come next.
//!
//! [`Grammar`] is the compiled form. A [`Constraint`] follows one reply through it: a pushdown automaton over bytes whose states are
//! found as they are reached and remembered, so that a mask is computed once a state and then only looked up.

mod automaton;
mod chars;
mod constraint;
mod expr;
mod form;
mod gbnf;
mod json;
mod mask;
mod rules;
mod schema;
#[cfg(test)]
mod tests;

pub use constraint::Constraint;
pub use form::Form;

use crate::{Error, Result};
use rules::Rules;
use std::sync::Arc;

/// What a reply may be.
#[derive(Clone, Debug)]
pub struct Grammar {
    rules: Arc<Rules>,
}

impl Grammar {
    /// From llama.cpp's notation; the reply is what `root` says.
    pub fn gbnf(text: &str) -> Result<Grammar> {
        let parsed = gbnf::parse(text).and_then(|parsed| Rules::new(&parsed));
        Ok(Grammar { rules: Arc::new(parsed.map_err(|why| Error::invalid_argument(format!("grammar: {why}")))?) })
    }

    /// From a JSON schema: the reply is JSON that it accepts. What of it cannot be held is refused by name; docs/grammars.md lists
    /// what can.
    pub fn json_schema(text: &str) -> Result<Grammar> {
        let in_schema = |why| Error::invalid_argument(format!("JSON schema: {why}"));
        let parsed = json::parse(text).and_then(|schema| schema::parse(&schema)).map_err(in_schema)?;
        Ok(Grammar { rules: Arc::new(Rules::new(&parsed).map_err(in_schema)?) })
    }

    /// From texts and schemas put together.
    pub fn form(form: &Form) -> Result<Grammar> {
        let parsed = form::parse(form).and_then(|parsed| Rules::new(&parsed));
        Ok(Grammar { rules: Arc::new(parsed.map_err(|why| Error::invalid_argument(format!("JSON schema: {why}")))?) })
    }

    /// Any JSON object.
    pub fn json_object() -> Result<Grammar> {
        Grammar::json_schema(r#"{"type": "object"}"#)
    }
}
