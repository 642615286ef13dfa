//! Text to tokens and back: SentencePiece BPE with byte fallback, and byte-level BPE.
//!
//! A text is cut at the special and added tokens written in it (`added`), each stretch between them is normalised
//! (`normalize`), cut into pieces (`pretokenize`), and each piece is merged (`bpe`). The file is described in
//! docs/tokenizer-format.md.

mod added;
mod bpe;
mod by_text;
mod charsmap;
mod decode;
mod format;
mod index;
mod llama2c;
mod merges;
mod nfc;
mod normalize;
mod pretokenize;
mod rules;
mod unicode;
#[rustfmt::skip]
mod unicode_tables;
mod utf8;
mod vocab;

pub use by_text::ByText;
pub(crate) use by_text::Token;
pub use decode::Decoder;
pub use merges::{NEVER, priorities};
pub use pretokenize::Pattern;
pub use rules::{Prefix, Rules, Symbols};
pub use utf8::Utf8Stream;
pub use vocab::Kind;

use added::{Matcher, Part};
use bpe::Encoder;
use charsmap::CharsMap;
use merges::Merges;
use vocab::Vocab;

use crate::{Error, Result};
use std::sync::{Arc, OnceLock};

/// Whether special tokens written in a text are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// They are text like any other: for what a user wrote.
    AsText,
    /// They become their tokens: for what a chat template made.
    Parse,
}

#[derive(Clone, Debug)]
pub struct Tokenizer {
    rules: Rules,
    charsmap: Option<CharsMap>,
    vocab: Vocab,
    merges: Merges,
    /// What is recognised in the raw text, and what in the normalised.
    raw: Matcher,
    normalized: Matcher,
    /// Made when first asked for.
    by_text: OnceLock<Arc<ByText>>,
}

/// A tokenizer as an importer describes it.
#[derive(Clone, Debug)]
pub struct Definition {
    pub rules: Rules,
    /// SentencePiece's precompiled normalisation, applied before the rules.
    pub charsmap: Option<Vec<u8>>,
    pub tokens: Vec<(Vec<u8>, Kind)>,
    pub merges: MergeOrder,
}

/// How merging is ordered.
#[derive(Clone, Debug)]
pub enum MergeOrder {
    /// Two neighbours merge where their joined bytes are a token; the token with the lowest number first. `NEVER` for
    /// those that no merge makes.
    ByToken(Vec<u32>),
    /// Left, right, result: these pairs merge and no others, the earliest first.
    Listed(Vec<[u32; 3]>),
}

impl Tokenizer {
    /// Reads our own format or llama2.c's `tokenizer.bin`, recognised by content.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tokenizer> {
        let read = if bytes.starts_with(&format::MAGIC) { format::read(bytes) } else { llama2c::read(bytes) };
        read.map_err(|error| error.in_place("tokenizer"))
    }

    pub fn new(definition: Definition) -> Result<Tokenizer> {
        let invalid = |why| Error::invalid_file(format!("tokenizer: {why}"));
        let vocab = Vocab::build(&definition.tokens).map_err(invalid)?;
        let merges = match definition.merges {
            MergeOrder::ByToken(priorities) => Merges::ByToken(priorities),
            MergeOrder::Listed(pairs) => Merges::listed(pairs),
        };
        let charsmap = definition.charsmap.map(CharsMap::new).transpose().map_err(invalid)?;
        Self::assemble(definition.rules, charsmap, vocab, merges).map_err(invalid)
    }

    /// Checks what ties the parts together.
    fn assemble(
        rules: Rules,
        charsmap: Option<CharsMap>,
        vocab: Vocab,
        merges: Merges,
    ) -> std::result::Result<Tokenizer, &'static str> {
        let exists = |id: u32| (id as usize) < vocab.len();
        if ![rules.bos, rules.eos, rules.unk].into_iter().flatten().all(exists) {
            return Err("a special token's id is not in the vocabulary");
        }
        match &merges {
            Merges::ByToken(priorities) if priorities.len() != vocab.len() => {
                return Err("the number of priorities is not that of the tokens");
            }
            Merges::Listed { pairs, .. } if !pairs.iter().flatten().all(|id| exists(*id)) => {
                return Err("a merge names a token that is not in the vocabulary");
            }
            _ => {}
        }
        let raw = Matcher::new(&vocab, |kind| kind.is_special() || kind == Kind::Added);
        let normalized = Matcher::new(&vocab, |kind| kind == Kind::UserDefined);
        Ok(Tokenizer { rules, charsmap, vocab, merges, raw, normalized, by_text: OnceLock::new() })
    }

    /// The tokenizer in our own format.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        format::write(self)
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    pub fn bos(&self) -> Option<u32> {
        self.rules.bos
    }

    pub fn eos(&self) -> Option<u32> {
        self.rules.eos
    }

    /// Whether a prompt is to begin with `bos`.
    pub fn adds_bos(&self) -> bool {
        self.rules.adds_bos && self.rules.bos.is_some()
    }

    /// The tokens of `text`; `bos` is never added.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        self.encode_part(text, special, true)
    }

    /// The tokens of a part of a larger text; `first` tells that nothing stands before it.
    pub fn encode_part(&self, text: &str, special: Special, mut first: bool) -> Vec<u32> {
        let mut encoder = Encoder::new(&self.vocab, &self.merges, &self.rules);
        let mut out = Vec::with_capacity(text.len() / 3);
        for part in self.raw.parts(&self.vocab, text, special) {
            match part {
                Part::Token(id) => out.push(id),
                Part::Text(text) => self.encode_between(text, first, special, &mut encoder, &mut out),
            }
            first = false;
        }
        out
    }

    fn encode_between(&self, text: &str, first: bool, special: Special, encoder: &mut Encoder, out: &mut Vec<u32>) {
        let mapped = self.charsmap.as_ref().map(|map| map.apply(text, &self.normalized, &self.vocab));
        let text = normalize::normalize(&self.rules, mapped.as_deref().unwrap_or(text), first);
        for part in self.normalized.parts(&self.vocab, &text, special) {
            match part {
                Part::Token(id) => out.push(id),
                Part::Text(text) => self.rules.pattern.pieces(text).for_each(|piece| encoder.encode(piece, out)),
            }
        }
    }

    /// What a token stands for inside a text: bytes, with spaces as spaces.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.vocab.bytes(id)
    }

    /// The tokens that stand for text, in its order.
    pub fn by_text(&self) -> Arc<ByText> {
        Arc::clone(self.by_text.get_or_init(|| Arc::new(ByText::new(self))))
    }

    /// The token with exactly these bytes, special ones included.
    pub fn token_id(&self, bytes: &[u8]) -> Option<u32> {
        self.vocab.id(bytes)
    }

    /// Whether the token is a control or the unknown token rather than text.
    pub fn is_special(&self, id: u32) -> bool {
        self.vocab.kind(id).is_some_and(Kind::is_special)
    }

    /// The bytes of a whole text, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        self.decode_with(ids, true)
    }

    pub fn decode_with(&self, ids: &[u32], skip_special: bool) -> Vec<u8> {
        let mut decoder = self.decoder(skip_special);
        ids.iter().flat_map(|id| decoder.push(*id)).copied().collect()
    }

    /// Decodes token by token from the beginning of a text. What continues a text (an answer after its prompt) is
    /// `token_bytes` instead: there the first space belongs to it.
    pub fn decoder(&self, skip_special: bool) -> Decoder<'_> {
        Decoder::new(self, skip_special)
    }
}

#[cfg(test)]
mod tests;
