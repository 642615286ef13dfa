//! Which scanner of the runtime does what a pre-tokenizer's name or regular expression says.

use tcrt::tokenizer::Pattern;

const WORDS: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";
const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";
const UPPER: &str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
const LOWER: &str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
const LEAD: &str = r"[^\r\n\p{L}\p{N}]?";

/// The pattern that is exactly this regular expression.
pub fn by_regex(regex: &str) -> Option<Pattern> {
    let llama3 = |number: &str| format!(r"{CONTRACTIONS}|{WORDS}|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}");
    let tekken = |suffix: &str, number: &str| {
        let (lower, upper) = (format!("{LEAD}{UPPER}*{LOWER}+{suffix}"), format!("{LEAD}{UPPER}+{LOWER}*{suffix}"));
        format!(r"{lower}|{upper}|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}")
    };
    let known = [
        (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+".to_owned(), Pattern::Gpt2),
        (llama3(r"\p{N}{1,3}"), Pattern::Llama3),
        (llama3(r"\p{N}"), Pattern::Qwen2),
        (tekken("", r"\p{N}"), Pattern::Tekken),
        (tekken(&format!("{CONTRACTIONS}?"), r"\p{N}{1,3}"), Pattern::O200k),
    ];
    known.into_iter().find(|(known, _)| known == regex).map(|(_, pattern)| pattern)
}

/// What a pre-tokenizer's name in a GGUF file stands for.
pub struct Named {
    pub pattern: Pattern,
    pub whole_piece_first: bool,
    pub nfc: bool,
    pub adds_bos: bool,
}

pub fn by_gguf_name(name: &str) -> Option<Named> {
    let plain = |pattern| Named { pattern, whole_piece_first: false, nfc: false, adds_bos: false };
    Some(match name {
        "gpt-2" => plain(Pattern::Gpt2),
        "smollm" | "starcoder" | "refact" | "codeshell" => plain(Pattern::DigitsGpt2),
        "llama3" | "llama-v3" | "llama-bpe" => {
            Named { whole_piece_first: true, adds_bos: true, ..plain(Pattern::Llama3) }
        }
        "qwen2" | "deepseek-r1-qwen" => Named { nfc: true, ..plain(Pattern::Qwen2) },
        "tekken" => Named { whole_piece_first: true, adds_bos: true, ..plain(Pattern::Tekken) },
        "gpt-4o" => plain(Pattern::O200k),
        _ => return None,
    })
}
