//! From what people write to the tokens that a model is fed.

use crate::chat::{ChatFormat, Message, Segment};
use crate::tokenizer::{Special, Tokenizer};
use crate::{Error, Result};

/// A plain text: the begin token where the model wants one, then the text, in which special tokens are recognised.
pub fn plain(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let mut tokens: Vec<u32> = bos.into_iter().collect();
    let written = tokenizer.encode(text, Special::Parse);
    // A text that spells the begin token itself does not get a second one.
    let own = tokens.len().min(usize::from(written.first() == tokens.first()));
    tokens.extend_from_slice(&written[own..]);
    tokens
}

/// A conversation and the beginning of the reply to it.
pub fn conversation(tokenizer: &Tokenizer, format: &ChatFormat, messages: &[Message<'_>]) -> Result<Vec<u32>> {
    segments(tokenizer, &format.render(messages, true)?)
}

/// Rendered segments: special ones are one token each, text never becomes a special token.
pub fn segments(tokenizer: &Tokenizer, segments: &[Segment]) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        match segment {
            Segment::Text(text) => tokens.extend(tokenizer.encode_part(text, Special::AsText, index == 0)),
            Segment::Special(text) => tokens.push(tokenizer.token_id(text.as_bytes()).ok_or_else(|| {
                Error::invalid_argument(format!("the chat format needs the token {text:?}, which this tokenizer lacks"))
            })?),
        }
    }
    Ok(tokens)
}

/// The tokens that end a reply: those of the model, and those of its chat format.
pub fn stop_tokens(model_stops: &[u32], tokenizer: &Tokenizer, format: Option<&ChatFormat>) -> Vec<u32> {
    let texts = format.into_iter().flat_map(ChatFormat::stop_token_texts);
    let named = texts.filter_map(|text| tokenizer.token_id(text.as_ref()));
    let mut stops: Vec<u32> = model_stops.iter().copied().chain(named).chain(tokenizer.eos()).collect();
    stops.sort_unstable();
    stops.dedup();
    stops
}
