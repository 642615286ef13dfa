//! llama2.c's `tokenizer.bin`: the length of the longest token, then each token's score, length and text. The first
//! three are `<unk>`, `<s>` and `</s>`, the next 256 the bytes.

use super::pretokenize::Pattern;
use super::rules::{Prefix, Rules, Symbols};
use super::vocab::Kind;
use super::{Definition, MergeOrder, Tokenizer, priorities};
use crate::{Error, Result};

const FIRST_BYTE: usize = 3;
const FIRST_NORMAL: usize = FIRST_BYTE + 256;

pub fn read(bytes: &[u8]) -> Result<Tokenizer> {
    let mut reader = Reader { bytes, at: 0 };
    let longest = reader.word()?;
    let mut tokens = Vec::new();
    let mut scores = Vec::new();
    while reader.at < bytes.len() {
        let (at, score, len) = (reader.at, f32::from_bits(reader.word()?), reader.word()?);
        if !score.is_finite() || len > longest {
            return Err(not_a_tokenizer(at));
        }
        let text = reader.take(len as usize)?;
        tokens.push(token(tokens.len(), text).ok_or_else(|| not_a_tokenizer(at))?);
        scores.push(score);
    }
    if tokens.len() < FIRST_NORMAL {
        return Err(not_a_tokenizer(bytes.len()));
    }
    let merged: Vec<_> =
        tokens.iter().zip(&scores).map(|((_, kind), score)| (*kind == Kind::Normal).then_some(*score)).collect();
    let rules = Rules {
        prefix: Prefix::Every,
        escaped_spaces: true,
        strip_first_space: true,
        adds_bos: true,
        unk: Some(0),
        bos: Some(1),
        eos: Some(2),
        ..Rules::new(Symbols::Chars, Pattern::Whole)
    };
    Tokenizer::new(Definition { rules, charsmap: None, tokens, merges: MergeOrder::ByToken(priorities(&merged)) })
}

fn token(id: usize, text: &[u8]) -> Option<(Vec<u8>, Kind)> {
    match id {
        0 => Some((text.to_vec(), Kind::Unknown)),
        // They are stored with newlines around them.
        1 | 2 => Some((text.trim_ascii().to_vec(), Kind::Control)),
        _ if id < FIRST_NORMAL => {
            let byte = u8::try_from(id - FIRST_BYTE).ok()?;
            (text == format!("<0x{byte:02X}>").as_bytes()).then(|| (vec![byte], Kind::Byte))
        }
        _ => Some((text.to_vec(), Kind::Normal)),
    }
}

fn not_a_tokenizer(at: usize) -> Error {
    Error::invalid_file(format!("at byte {at}: neither our own format nor llama2.c's tokenizer.bin"))
}

struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Reader<'t> {
    fn take(&mut self, len: usize) -> Result<&'t [u8]> {
        let end = self.at.checked_add(len);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| not_a_tokenizer(self.at))?;
        self.at += len;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32> {
        let word = self.take(4)?.first_chunk().copied().unwrap_or_default();
        Ok(u32::from_le_bytes(word))
    }
}
