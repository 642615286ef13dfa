//! Lowers a checkpoint's chat template, a Jinja program, to the plain data that artifacts carry.
//!
//! Nothing reads the program itself. It is run on probe conversations whose messages are marked, and what it puts around the marks is the format
//! ([`fit`]). Then it is run on many more, odd ones among them, and the runtime's own renderer must give every byte of
//! what it gives ([`check`]): a template that does more than a format can say is refused, never approximated.

mod builtin;
mod check;
mod conversation;
mod fit;
mod jinja;
mod literal;
#[cfg(test)]
mod tests;

pub use builtin::{Family, builtin};
use jinja::Template;
use tcrt::chat::ChatFormat;

/// The tokens that a template and its lowering need to know of, by their texts.
#[derive(Clone, Debug, Default)]
pub struct Specials<'a> {
    /// What the template may call `bos_token`.
    pub bos: Option<&'a str>,
    /// What the template may call `eos_token`.
    pub eos: Option<&'a str>,
    /// Every token that the tokenizer cuts out of text before anything else, `bos` and `eos` included.
    pub tokens: Vec<&'a str>,
}

/// Why a template has no chat format. The checkpoint can still be exported without one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("chat template: {0}")]
    Template(String),
    #[error("chat template: on the conversation {conversation}: {reason}")]
    Render { conversation: String, reason: String },
    #[error("chat template: {0}, which no chat format can say")]
    Inexpressible(&'static str),
    #[error("chat template: the lowered format differs on the conversation {conversation}: {difference}")]
    Differs { conversation: String, difference: String },
}

/// The chat format that renders as `template` does.
pub fn lower(template: &str, specials: &Specials<'_>) -> Result<ChatFormat, Error> {
    let template = Template::new(template, specials)?;
    let mut format = fit::fit(&template, specials)?;
    check::settle(&template, &mut format)?;
    Ok(format)
}
