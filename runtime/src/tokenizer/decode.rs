//! Tokens back to bytes.

use super::Tokenizer;
use super::vocab::Kind;

/// Decodes one token after the other; all at once gives the same bytes.
#[derive(Clone, Debug)]
pub struct Decoder<'t> {
    tokenizer: &'t Tokenizer,
    skip_special: bool,
    /// Whether a leading space is still to be dropped.
    strip: bool,
}

impl<'t> Decoder<'t> {
    pub fn new(tokenizer: &'t Tokenizer, skip_special: bool) -> Self {
        Decoder { tokenizer, skip_special, strip: tokenizer.rules.strip_first_space }
    }

    /// The bytes that `id` adds; nothing for an id that stands for no text.
    pub fn push(&mut self, id: u32) -> &'t [u8] {
        let vocab = &self.tokenizer.vocab;
        let hidden = match vocab.kind(id) {
            None | Some(Kind::Unused) => true,
            Some(kind) => kind.is_special() && self.skip_special,
        };
        let bytes = vocab.bytes(id).filter(|_| !hidden).unwrap_or_default();
        if bytes.is_empty() || !self.strip {
            return bytes;
        }
        let rest = bytes.strip_prefix(b" ").unwrap_or(bytes);
        // Where runs of spaces are one space, a text begins with its first character that is none.
        self.strip = rest.is_empty() && self.tokenizer.rules.collapse_spaces;
        rest
    }
}
