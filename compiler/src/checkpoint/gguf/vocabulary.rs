//! The tokenizer that a GGUF file carries.

use super::super::error::{Result, error};
use super::header::{Header, Value};

/// `tokenizer.ggml.*`, as written; what is absent is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufVocab {
    /// "llama" (SentencePiece with scores) or "gpt2" (byte-level BPE with merges).
    pub model: String,
    /// The name of the pre-tokenizer of a byte-level BPE.
    pub pre: Option<String>,
    pub tokens: Vec<String>,
    pub scores: Vec<f32>,
    /// 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub types: Vec<i64>,
    pub merges: Vec<String>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub eot: Option<u32>,
    pub unk: Option<u32>,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,
}

/// The vocabulary, if the file has one. Lists that go token by token are as long as the list of tokens.
pub fn read(header: &Header, rows: usize) -> Result<Option<GgufVocab>> {
    let Some(model) = header.text("tokenizer.ggml.model") else { return Ok(None) };
    let tokens = header.texts("tokenizer.ggml.tokens").to_vec();
    let scores = match header.metadata.get("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) => scores.clone(),
        _ => Vec::new(),
    };
    let types = header.ints("tokenizer.ggml.token_type").to_vec();
    for (what, len) in [("scores", scores.len()), ("token_type", types.len())] {
        if len != 0 && len != tokens.len() {
            return Err(error!("\"tokenizer.ggml.{what}\" has {len} entries for {} tokens", tokens.len()));
        }
    }
    if tokens.len() > rows {
        return Err(error!("the vocabulary has {} tokens, but the embedding {rows} rows", tokens.len()));
    }
    if let Some(score) = scores.iter().find(|score| score.is_nan()) {
        return Err(error!("\"tokenizer.ggml.scores\" has a score of {score}"));
    }
    let flag = |key: &str| match header.metadata.get(&format!("tokenizer.ggml.{key}")) {
        Some(Value::Bool(flag)) => Some(*flag),
        _ => None,
    };
    Ok(Some(GgufVocab {
        model,
        pre: header.text("tokenizer.ggml.pre"),
        tokens,
        scores,
        types,
        merges: header.texts("tokenizer.ggml.merges").to_vec(),
        bos: header.token("bos"),
        eos: header.token("eos"),
        eot: header.token("eot"),
        unk: header.token("unknown"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
    }))
}
