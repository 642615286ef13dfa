//! tiktoken's `tokenizer.model` as Llama 3 has it: a line per token, its bytes in base64 and its rank. The special
//! tokens follow the ranks in the order that Meta's code gives them.

use tcrt::tokenizer::{Definition, Kind, MergeOrder, NEVER, Pattern, Rules, Symbols};

use super::{Result, TokenizerError, Tokens, base64, invalid, unsupported};

const SPECIAL: usize = 256;
const NAMED: [&str; 12] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|step_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|image|>",
];
/// Llama 4's file has this many ranks, another pattern and other special tokens.
const LLAMA4_RANKS: usize = 200_000;

pub fn recognises(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').next().and_then(line).is_some()
}

pub fn define(bytes: &[u8]) -> Result<Definition> {
    let mut ranked = Vec::new();
    for (number, text) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        ranked.push(line(text).ok_or_else(|| {
            TokenizerError::Invalid(format!("line {} is not a token in base64 and its rank", number + 1))
        })?);
    }
    if ranked.len() == LLAMA4_RANKS {
        return unsupported("Llama 4's tokenizer.model");
    }
    let mut tokens = by_rank(ranked)?;
    let bos = u32::try_from(tokens.len()).map_err(|_| TokenizerError::Invalid("too many tokens".into()))?;
    let reserved = (2..).map(|number| format!("<|reserved_special_token_{number}|>"));
    let special = NAMED.map(str::to_owned).into_iter().chain(reserved).take(SPECIAL);
    tokens.extend(special.map(|name| (name.into_bytes(), Kind::Control)));
    let mut rules = byte_level_rules(Pattern::Llama3);
    (rules.bos, rules.eos) = (Some(bos), Some(bos + 1));
    Ok(Definition { rules, charsmap: None, merges: rank_order(&tokens), tokens })
}

/// Tokens put in the order of their ranks, which are 0, 1, 2, …, with every single byte among them.
pub fn by_rank(mut ranked: Vec<(Vec<u8>, usize)>) -> Result<Tokens> {
    ranked.sort_by_key(|(_, rank)| *rank);
    if let Some((at, _)) = ranked.iter().enumerate().find(|(at, (_, rank))| at != rank) {
        return invalid(format!("the ranks have a gap or a double at {at}"));
    }
    if (0..=255).any(|byte: u8| !ranked.iter().any(|(token, _)| *token == [byte])) {
        return invalid("some byte has no token");
    }
    Ok(ranked.into_iter().map(|(token, _)| (token, Kind::Normal)).collect())
}

/// tiktoken merges by rank, which is the order of the normal tokens' ids.
pub fn rank_order(tokens: &[(Vec<u8>, Kind)]) -> MergeOrder {
    let rank = |(id, (_, kind)): (u32, &(_, Kind))| if *kind == Kind::Normal { id } else { NEVER };
    MergeOrder::ByToken((0..).zip(tokens).map(rank).collect())
}

pub fn byte_level_rules(pattern: Pattern) -> Rules {
    Rules { whole_piece_first: true, adds_bos: true, ..Rules::new(Symbols::Bytes, pattern) }
}

fn line(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let space = text.iter().position(|byte| *byte == b' ')?;
    let (token, rank) = text.split_at(space);
    let rank = std::str::from_utf8(rank.get(1..)?).ok()?.parse().ok()?;
    base64::decode(token).filter(|token| !token.is_empty()).map(|token| (token, rank))
}
