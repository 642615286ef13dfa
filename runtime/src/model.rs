//! A loaded artifact: mapped, verified, shared by every engine that runs it.

use crate::chat::ChatFormat;
use crate::program::verify::Verified;
use crate::program::{self, Cache, Program};
use crate::sys::Mapping;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct Model {
    bytes: Mapping,
    verified: Verified,
    info: ModelInfo,
    /// For errors.
    name: String,
}

/// What is worth knowing about a model before running it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Name, family, recipe, writer and the like, for people.
    pub metadata: Vec<(String, String)>,
    pub vocab: usize,
    pub max_positions: usize,
    pub cache: Cache,
    /// Kernels that the program calls.
    pub kernels: Vec<String>,
    pub instructions: usize,
    pub weights: usize,
    pub weight_bytes: u64,
    pub file_bytes: u64,
    pub load_time: Duration,
}

impl Model {
    /// Maps and verifies the artifact at `path`. What this costs does not grow with the weights.
    pub fn load(path: &Path) -> Result<Arc<Model>> {
        let begin = Instant::now();
        Model::new(Mapping::open(path)?, path.display().to_string(), begin)
    }

    /// Verifies an artifact in memory, which is copied once. `name` is what errors call it.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Arc<Model>> {
        let begin = Instant::now();
        Model::new(Mapping::from_bytes(bytes)?, name.to_owned(), begin)
    }

    fn new(bytes: Mapping, name: String, begin: Instant) -> Result<Arc<Model>> {
        let verified = program::read(&bytes).map_err(|error| error.in_place(&name))?;
        let program = verified.program();
        let info = ModelInfo {
            metadata: program.metadata.clone(),
            vocab: program.vocab as usize,
            max_positions: program.max_positions as usize,
            cache: program.cache,
            kernels: program.kernels.clone(),
            instructions: program.instructions.len(),
            weights: program.weights.len(),
            weight_bytes: program.weights.iter().map(|weight| weight.size).sum(),
            file_bytes: bytes.len() as u64,
            load_time: begin.elapsed(),
        };
        Ok(Arc::new(Model { bytes, verified, info, name }))
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    pub fn program(&self) -> &Program {
        self.verified.program()
    }

    /// The path it was loaded from, or the name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tokens that end a text, as the checkpoint says.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.program().stop_tokens
    }

    /// The tokenizer inside the artifact, where there is one.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match self.tokenizer_bytes() {
            [] => Ok(None),
            bytes => Tokenizer::from_bytes(bytes).map(Some).map_err(|error| error.in_place(&self.name)),
        }
    }

    pub fn tokenizer_bytes(&self) -> &[u8] {
        self.program().tokenizer_segment.of(&self.bytes)
    }

    /// The chat format inside the artifact, where there is one.
    pub fn chat_format(&self) -> Result<Option<ChatFormat>> {
        match self.program().chat_segment.of(&self.bytes) {
            [] => Ok(None),
            bytes => ChatFormat::from_bytes(bytes).map(Some).map_err(|error| error.in_place(&self.name)),
        }
    }

    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    pub(crate) fn weights(&self) -> &[u8] {
        self.program().weights_segment.of(&self.bytes)
    }

    pub(crate) fn at(&self, error: Error) -> Error {
        error.in_place(&self.name)
    }
}
