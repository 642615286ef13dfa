//! How families of models write calls.

use tcrt::chat::{ChatFormat, Piece};
use tcrt::tokenizer::Tokenizer;

use crate::random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Qwen, Hermes and most others: `<tool_call>` blocks. Models that were trained for no form are told this one.
    Hermes,
    /// Llama 3.1 and later: a reply that is JSON, or that has JSON after `<|python_tag|>`.
    Llama3,
    /// Mistral with control tokens: a list after `[TOOL_CALLS]`.
    Mistral,
}

/// The texts around calls.
pub struct Markers {
    pub open: &'static str,
    /// Without one, calls go on to the end of the reply.
    pub close: Option<&'static str>,
    /// Whether a reply that begins with a brace is a call.
    pub bare: bool,
    pub arguments: &'static str,
}

impl Family {
    pub fn of(tokenizer: &Tokenizer, chat: Option<&ChatFormat>) -> Family {
        let has = |token: &str| tokenizer.token_id(token.as_ref()).is_some();
        let header = |piece: &Piece| matches!(piece, Piece::Special(token) if token == "<|start_header_id|>");
        let mistral = ["[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"];
        if has("<|python_tag|>") && chat.is_some_and(|chat| chat.user.prefix.iter().any(header)) {
            Family::Llama3
        } else if mistral.into_iter().all(has) {
            Family::Mistral
        } else {
            Family::Hermes
        }
    }

    pub fn markers(self) -> Markers {
        match self {
            Family::Hermes => {
                Markers { open: "<tool_call>", close: Some("</tool_call>"), bare: false, arguments: "arguments" }
            }
            Family::Llama3 => Markers { open: "<|python_tag|>", close: None, bare: true, arguments: "parameters" },
            Family::Mistral => Markers { open: "[TOOL_CALLS]", close: None, bare: false, arguments: "arguments" },
        }
    }

    /// Tokens that mark calls, and must be seen in the reply's text though they are special.
    pub fn shown(self, tokenizer: &Tokenizer) -> Vec<u32> {
        let Markers { open, close, .. } = self.markers();
        let id = |marker: &str| tokenizer.token_id(marker.as_ref()).filter(|id| tokenizer.is_special(*id));
        std::iter::once(open).chain(close).filter_map(id).collect()
    }

    /// A name for a call; Mistral's have nine characters.
    pub fn call_id(self) -> String {
        match self {
            Family::Mistral => random::id("")[..9].to_owned(),
            Family::Hermes | Family::Llama3 => random::id("call_"),
        }
    }
}
