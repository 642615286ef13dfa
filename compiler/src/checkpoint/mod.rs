//! Checkpoints: every format that people keep Llama-family weights in, read to one form.
//!
//! Canonical tensor names are `embed`, `norm`, `head` (absent when tied), `layers.N.` followed by `attn_norm`, `q`, `k`, `v`,
//! `o`, `ffn_norm`, `gate`, `up`, `down`, and where the config asks for them `q_norm`, `k_norm` and `X.bias` for the seven
//! linear layers. Matrices are `[outputs, inputs]`. The rows of q and k (and of their biases) are in Hugging Face's order: rope
//! turns row `i` of a head with row `head_dim / 2 + i`; formats that turn neighbouring rows are permuted lazily.

mod assemble;
mod encoding;
mod error;
mod file;
mod gguf;
mod grid;
mod gridded;
mod hf;
mod inspect;
mod llama2c;
mod meta;
mod names;
mod packed;
mod pickle;
mod quant;
mod safetensors;
mod single;
mod stored;
mod tensor;
mod torch;
mod zip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use assemble::expected as expected_tensors;
pub use error::{CheckpointError, Result};
pub use gguf::GgufVocab;
pub use grid::{Grid, GridRow, Segment};
pub use gridded::{Scratch, floats_tensor};
pub use inspect::{Summary, TensorSummary, summarize};
pub use tensor::{Factors, Tensor};
#[cfg(test)]
pub(crate) use {encoding::Encoding, tensor::Place};

use crate::config::ModelConfig;
use error::error;
pub(crate) use file::SourceFile;

/// An opened checkpoint: the config is checked, and `tensors` holds exactly the tensors it asks for, in their right shapes.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub format: Format,
    pub path: PathBuf,
    pub config: ModelConfig,
    /// By canonical name.
    pub tensors: BTreeMap<String, Tensor>,
    pub vocabulary: VocabularySource,
    /// The Jinja template that turns messages into a prompt.
    pub chat_template: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    HuggingFace,
    Safetensors,
    Meta,
    /// One file of torchtune, gpt-fast, torchchat or tinyllamas.
    Torch,
    Llama2C,
    Gguf,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::HuggingFace => "Hugging Face directory",
            Format::Safetensors => "safetensors",
            Format::Meta => "Meta directory",
            Format::Torch => "PyTorch file",
            Format::Llama2C => "llama2.c",
            Format::Gguf => "GGUF",
        }
    }
}

/// Where the vocabulary of a checkpoint is.
#[derive(Clone, Debug)]
pub enum VocabularySource {
    /// A directory that may hold `tokenizer.json`, `tokenizer.model` and the like.
    Files(PathBuf),
    Gguf(Box<GgufVocab>),
    /// The format has no place for one.
    None,
}

#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// A JSON file (Meta's `params.json` or Hugging Face's `config.json`) for checkpoints that do not say their shape.
    pub params_path: Option<PathBuf>,
}

/// Opens a directory or a file; what it is shows in its content.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    if path.is_dir() {
        return open_directory(path);
    }
    let file = SourceFile::open(path)?;
    let bytes = file.bytes();
    if gguf::recognise(bytes) {
        gguf::open(path, &file)
    } else if single::recognise(bytes) {
        single::open(path, &file, options)
    } else if llama2c::recognise(bytes) {
        llama2c::open(path, &file)
    } else {
        Err(file.fault(error!("is not a checkpoint of a format that is supported")))
    }
}

/// Hugging Face's repositories of Meta's models have Meta's files in a directory of their own.
fn open_directory(directory: &Path) -> Result<Checkpoint> {
    if meta::recognise(directory) && !hf::recognise(directory) {
        meta::open(directory)
    } else if directory.join("config.json").is_file() {
        hf::open(directory)
    } else {
        let what = "has neither a config.json nor a params.json with consolidated.00.pth";
        Err(error!("{what}").in_file(directory))
    }
}
