//! llama.cpp's GGUF files: config, weights, vocabulary and chat template in one.

mod config;
mod header;
mod vocabulary;

use std::path::Path;
use std::sync::Arc;

use super::assemble::{assemble, name_all};
use super::error::{CheckpointError, Result};
use super::file::SourceFile;
use super::{Checkpoint, Format, VocabularySource, names};
use crate::config::Family;

pub use vocabulary::GgufVocab;

pub fn recognise(bytes: &[u8]) -> bool {
    bytes.starts_with(header::MAGIC)
}

pub fn open(path: &Path, file: &Arc<SourceFile>) -> Result<Checkpoint> {
    let header = header::read(file)?;
    let fault = |e: CheckpointError| file.fault(e);
    let config = config::parse(&header).map_err(fault)?;
    let vocabulary = vocabulary::read(&header, config.vocab).map_err(fault)?;
    let chat_template = header.text("tokenizer.chat_template");
    let named = name_all(header.tensors, &names::GGUF).map_err(fault)?;
    let tensors = assemble(&config, named, has_rope_pairs(config.family)).map_err(fault)?;
    let vocabulary = match vocabulary {
        Some(vocabulary) => VocabularySource::Gguf(Box::new(vocabulary)),
        None => VocabularySource::None,
    };
    Ok(Checkpoint { format: Format::Gguf, path: path.to_path_buf(), config, tensors, vocabulary, chat_template })
}

/// llama.cpp turns neighbouring rows for the architectures that came from Meta's (`llama_model_rope_type`).
fn has_rope_pairs(family: Family) -> bool {
    match family {
        Family::Llama | Family::Mistral | Family::Granite => true,
        Family::Qwen2 | Family::Qwen3 => false,
    }
}
