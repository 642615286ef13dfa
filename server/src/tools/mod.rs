//! Functions that a model may call: how its family is told of them, and how its calls are read out of its replies.

mod family;
mod form;
mod parse;
mod prompt;
mod python_json;

pub use family::Family;
pub use form::held;
pub use parse::{Parser, Part};
pub use prompt::{Prompt, conversation};

use serde_json::Value;
use tcrt::grammar::Form;

/// A message of a conversation as the API has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    System(String),
    User(String),
    Assistant {
        content: String,
        calls: Vec<Call>,
    },
    /// What a call gave.
    Tool {
        id: String,
        content: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: String,
    pub name: String,
    /// A JSON object.
    pub arguments: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    /// Name, description, parameters: as the client wrote them.
    pub function: Value,
    /// JSON that its parameters allow.
    pub arguments: Form,
    /// Whether every call is held to that, even where the model may choose to call.
    pub strict: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Auto,
    Required,
    Function(String),
}

/// What a request offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    pub tools: Vec<Tool>,
    pub choice: Choice,
    /// Whether a reply may have several calls.
    pub parallel: bool,
}

impl Tools {
    pub fn names(&self) -> Vec<String> {
        self.tools.iter().map(|tool| tool.name.clone()).collect()
    }
}
