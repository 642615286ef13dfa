//! Importers of tokenizers: every kind of file that checkpoints come with, recognised by content, becomes the runtime's
//! own `tokenizer.bin`. What the runtime cannot do exactly is refused by name.

mod base64;
mod byte_level;
mod gguf;
mod hf;
mod hf_components;
mod patterns;
mod protobuf;
mod sentencepiece;
mod tekken;
mod tiktoken;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use tcrt::tokenizer::{Definition, Kind, Tokenizer};

use crate::checkpoint::GgufVocab;

/// What a checkpoint's folder may call its tokenizer, best first.
const NAMES: [&str; 4] = ["tokenizer.json", "tekken.json", "tokenizer.model", "tokenizer.bin"];

/// The bytes of a `tokenizer.bin`, which the runtime has read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFile {
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: no tokenizer here: none of {}", dir.display(), NAMES.join(", "))]
    Absent { dir: PathBuf },
    #[error("{0}")]
    Invalid(String),
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("{place}: {error}")]
    In { place: String, error: Box<TokenizerError> },
}

/// Each token's bytes and what it is for, by id.
type Tokens = Vec<(Vec<u8>, Kind)>;

pub type Result<T> = std::result::Result<T, TokenizerError>;

impl TokenizerError {
    fn in_place(self, place: impl Display) -> Self {
        TokenizerError::In { place: place.to_string(), error: Box::new(self) }
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(TokenizerError::Invalid(why.into()))
}

fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(TokenizerError::Unsupported(what.into()))
}

/// Imports one file: `tokenizer.json`, SentencePiece's or tiktoken's `tokenizer.model`, `tekken.json`, our own or
/// llama2.c's `tokenizer.bin`.
pub fn import_file(path: &Path) -> Result<TokenizerFile> {
    import_with(path, hf::Companions::default())
}

/// Imports a file's content, whatever of these it is.
pub fn import_bytes(bytes: &[u8]) -> Result<TokenizerFile> {
    import_content(bytes, &hf::Companions::default())
}

/// Imports the tokenizer of a checkpoint's folder, with what the files beside it say.
pub fn import_dir(dir: &Path) -> Result<TokenizerFile> {
    let Some(path) = NAMES.map(|name| dir.join(name)).into_iter().find(|path| path.is_file()) else {
        return Err(TokenizerError::Absent { dir: dir.to_path_buf() });
    };
    import_with(&path, hf::Companions::read(dir)?)
}

/// Imports the tokenizer inside a GGUF file.
pub fn import_gguf(vocab: &GgufVocab) -> Result<TokenizerFile> {
    gguf::define(vocab).and_then(build).map_err(|error| error.in_place("tokenizer.ggml"))
}

fn import_with(path: &Path, companions: hf::Companions) -> Result<TokenizerFile> {
    let bytes = read(path)?;
    import_content(&bytes, &companions).map_err(|error| error.in_place(path.display()))
}

fn import_content(bytes: &[u8], companions: &hf::Companions) -> Result<TokenizerFile> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        return if tekken::recognises(bytes) { tekken::define(bytes) } else { hf::define(bytes, companions) }
            .and_then(build);
    }
    let definition = if sentencepiece::recognises(bytes) {
        sentencepiece::define(bytes)
    } else if tiktoken::recognises(bytes) {
        tiktoken::define(bytes)
    } else {
        return finish(Tokenizer::from_bytes(bytes));
    };
    build(companions.apply(definition?)?)
}

fn build(definition: Definition) -> Result<TokenizerFile> {
    finish(Tokenizer::new(definition))
}

fn finish(tokenizer: tcrt::Result<Tokenizer>) -> Result<TokenizerFile> {
    let failed = |error: tcrt::Error| TokenizerError::Invalid(error.to_string());
    let bytes = tokenizer.and_then(|tokenizer| tokenizer.to_bytes()).map_err(failed)?;
    Tokenizer::from_bytes(&bytes).map_err(failed)?;
    Ok(TokenizerFile { bytes })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| TokenizerError::Read { path: path.to_owned(), source })
}
