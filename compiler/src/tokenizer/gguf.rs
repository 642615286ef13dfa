//! The tokenizer in a GGUF file's metadata (`tokenizer.ggml.*`).

use std::collections::HashMap;

use tcrt::tokenizer::{Definition, Kind, MergeOrder, Pattern, Prefix, Rules, Symbols};

use crate::checkpoint::GgufVocab;

use super::byte_level::ByteAlphabet;
use super::sentencepiece::{Piece, tokens as sentencepiece_tokens, unknown};
use super::{Result, TokenizerError, invalid, patterns, unsupported};

/// The `token_type` of what has no other.
const NORMAL: i64 = 1;

pub fn define(vocab: &GgufVocab) -> Result<Definition> {
    match vocab.model.as_str() {
        "llama" => define_sentencepiece(vocab),
        "gpt2" => define_byte_level(vocab),
        other => unsupported(format!("tokenizer.ggml.model {other:?}")),
    }
}

fn define_sentencepiece(vocab: &GgufVocab) -> Result<Definition> {
    if vocab.scores.len() != vocab.tokens.len() || vocab.types.len() != vocab.tokens.len() {
        return invalid("scores and token_type do not go with the tokens");
    }
    let pieces: Vec<_> = vocab
        .tokens
        .iter()
        .zip(&vocab.scores)
        .zip(&vocab.types)
        .map(|((text, score), kind)| Piece {
            text: text.as_bytes(),
            score: *score,
            kind: u64::try_from(*kind).unwrap_or(u64::MAX),
        })
        .collect();
    let (tokens, merges) = sentencepiece_tokens(&pieces, true, Kind::Added)?;
    let prefixed = vocab.add_space_prefix.unwrap_or(true);
    let rules = Rules {
        prefix: if prefixed { Prefix::Every } else { Prefix::Never },
        escaped_spaces: true,
        strip_first_space: prefixed,
        fuse_unknown: true,
        adds_bos: vocab.add_bos.unwrap_or(true),
        bos: vocab.bos,
        eos: vocab.eos,
        unk: vocab.unk.or_else(|| unknown(&tokens)),
        ..Rules::new(Symbols::Chars, Pattern::Whole)
    };
    Ok(Definition { rules, charsmap: None, tokens, merges })
}

fn define_byte_level(vocab: &GgufVocab) -> Result<Definition> {
    let Some(pre) = &vocab.pre else {
        return unsupported("a byte-level vocabulary without tokenizer.ggml.pre");
    };
    let Some(named) = patterns::by_gguf_name(pre) else {
        return unsupported(format!("tokenizer.ggml.pre {pre:?}"));
    };
    let alphabet = ByteAlphabet::new();
    let kinds = vocab.types.iter().copied().chain(std::iter::repeat(NORMAL));
    let tokens = vocab.tokens.iter().zip(kinds).map(|(text, kind)| byte_level_token(&alphabet, text, kind));
    let rules = Rules {
        whole_piece_first: named.whole_piece_first,
        nfc: named.nfc,
        adds_bos: vocab.add_bos.unwrap_or(named.adds_bos),
        bos: vocab.bos,
        eos: vocab.eos,
        ..Rules::new(Symbols::Bytes, named.pattern)
    };
    Ok(Definition { rules, charsmap: None, tokens: tokens.collect(), merges: merges(vocab)? })
}

fn byte_level_token(alphabet: &ByteAlphabet, text: &str, kind: i64) -> (Vec<u8>, Kind) {
    let kind = match kind {
        NORMAL => Kind::Normal,
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::Added,
        _ => Kind::Unused,
    };
    if kind != Kind::Normal {
        return (text.as_bytes().to_vec(), kind);
    }
    match alphabet.bytes(text) {
        Some(bytes) => (bytes, Kind::Normal),
        // Not written in the alphabet: no text can lead to it.
        None => (text.as_bytes().to_vec(), Kind::Unused),
    }
}

fn merges(vocab: &GgufVocab) -> Result<MergeOrder> {
    let ids: HashMap<&str, u32> = vocab.tokens.iter().map(String::as_str).zip(0..).collect();
    let listed = vocab.merges.iter().enumerate().map(|(at, merge)| {
        let parts = merge.split_once(' ').and_then(|(left, right)| {
            let id = |text: &str| ids.get(text).copied();
            Some([id(left)?, id(right)?, id(&format!("{left}{right}"))?])
        });
        parts.ok_or_else(|| TokenizerError::Invalid(format!("merge {at} ({merge:?}) is not of known tokens")))
    });
    Ok(MergeOrder::Listed(listed.collect::<Result<_>>()?))
}
