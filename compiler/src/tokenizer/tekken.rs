//! Mistral's `tekken.json`: ranks in base64, the special tokens before them.

use serde::Deserialize;
use tcrt::tokenizer::{Definition, Kind};

use super::tiktoken::{by_rank, byte_level_rules, rank_order};
use super::{Result, TokenizerError, Tokens, base64, invalid, patterns};

/// The first special tokens of a file that lists none.
const DEFAULT_SPECIAL: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

#[derive(Deserialize)]
struct File {
    config: Config,
    vocab: Vec<Token>,
    special_tokens: Option<Vec<SpecialToken>>,
}

#[derive(Deserialize)]
struct Config {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct Token {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct SpecialToken {
    rank: usize,
    token_str: String,
}

/// Whether the JSON is of this kind: its `config` has a pattern.
pub fn recognises(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Outline {
        #[serde(rename = "config")]
        _config: Config,
    }
    serde_json::from_slice::<Outline>(bytes).is_ok()
}

pub fn define(bytes: &[u8]) -> Result<Definition> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| TokenizerError::Invalid(error.to_string()))?;
    let Some(pattern) = patterns::by_regex(&file.config.pattern) else {
        return super::unsupported(format!("pre-tokenizer pattern {:?}", file.config.pattern));
    };
    let count = file.config.default_num_special_tokens;
    let Some(normal) = file.config.default_vocab_size.checked_sub(count).filter(|n| *n <= file.vocab.len()) else {
        return invalid("config: default_vocab_size does not fit the tokens that there are");
    };
    let mut tokens = special_tokens(file.special_tokens, count)?;
    let mut ranked = Vec::with_capacity(normal);
    for token in file.vocab.iter().filter(|token| token.rank < normal) {
        let Some(bytes) = base64::decode(token.token_bytes.as_bytes()) else {
            return invalid(format!("the token of rank {} is not base64", token.rank));
        };
        ranked.push((bytes, token.rank));
    }
    tokens.extend(by_rank(ranked)?);
    let find = |name: &str| tokens.iter().take(count).position(|(bytes, _)| bytes == name.as_bytes());
    let id = |name| find(name).and_then(|id| u32::try_from(id).ok());
    let mut rules = byte_level_rules(pattern);
    (rules.bos, rules.eos, rules.unk) = (id("<s>"), id("</s>"), id("<unk>"));
    Ok(Definition { rules, charsmap: None, merges: rank_order(&tokens), tokens })
}

/// `count` special tokens: those listed at their ranks, the rest fillers.
fn special_tokens(listed: Option<Vec<SpecialToken>>, count: usize) -> Result<Tokens> {
    let by_default = || (0..).zip(DEFAULT_SPECIAL).map(|(rank, name)| SpecialToken { rank, token_str: name.into() });
    let listed = listed.unwrap_or_else(|| by_default().take(count).collect());
    // The count comes from the file; no real one is near this.
    if count > 1 << 16 {
        return invalid(format!("config: {count} special tokens"));
    }
    let mut tokens: Vec<_> = (0..count).map(|id| (format!("<SPECIAL_{id}>").into_bytes(), Kind::Control)).collect();
    for token in listed {
        let Some(slot) = tokens.get_mut(token.rank) else {
            return invalid(format!("the special token {:?} has the rank {}", token.token_str, token.rank));
        };
        slot.0 = token.token_str.into_bytes();
    }
    Ok(tokens)
}
