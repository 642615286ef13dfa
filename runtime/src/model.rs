//! A loaded artifact of either kind: mapped, verified, shared by every engine that runs it.

use crate::chat::ChatFormat;
use crate::native::{self, Native};
use crate::program::verify::{Hidden, Op, Verified};
use crate::program::{self, Cache, Program};
use crate::sys::Mapping;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct Model {
    code: Code,
    info: ModelInfo,
    layout: Layout,
    /// For errors.
    name: String,
}

/// What runs the model.
pub(crate) enum Code {
    Program { file: Mapping, verified: Verified },
    Native(Native),
}

/// Where a call's values lie, for each of its tokens or rows.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub token_arena: u64,
    pub row_arena: u64,
    /// In the arena of rows.
    pub logits_offset: u64,
    /// In bytes.
    pub logits_stride: u32,
    pub hidden: Option<Hidden>,
    /// Query heads of the attention that has the most; 0 where a native artifact does not say.
    pub heads: u32,
}

/// What is worth knowing about a model before running it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Name, family, recipe, writer and the like, for people.
    pub metadata: Vec<(String, String)>,
    pub vocab: usize,
    /// Values of a hidden state; 0: the artifact does not say where it leaves them.
    pub hidden: usize,
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
    /// Maps the artifact at `path`, of either kind, and verifies it. What this costs does not grow with the weights.
    ///
    /// A native artifact is code, which loading trusts; see docs/native-artifacts.md.
    pub fn load(path: &Path) -> Result<Arc<Model>> {
        let begin = Instant::now();
        let (file, name) = (Mapping::open(path)?, path.display().to_string());
        match native::is_native(&file) {
            true => Model::from_library(&file, Some(path), name, begin),
            false => Model::from_program(file, name, begin),
        }
    }

    /// As `load`, from memory, which is copied once. `name` is what errors call it. A native artifact must have its weights inside.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Arc<Model>> {
        let begin = Instant::now();
        match native::is_native(bytes) {
            true => Model::from_library(bytes, None, name.to_owned(), begin),
            false => Model::from_program(Mapping::from_bytes(bytes)?, name.to_owned(), begin),
        }
    }

    fn from_program(file: Mapping, name: String, begin: Instant) -> Result<Arc<Model>> {
        let verified = program::read(&file).map_err(|error| error.in_place(&name))?;
        let program = verified.program();
        let logits = &program.buffers[program.logits as usize];
        let layout = Layout {
            token_arena: program.token_arena,
            row_arena: program.row_arena,
            logits_offset: logits.offset,
            logits_stride: logits.stride,
            hidden: verified.hidden(),
            heads: verified.query_heads(),
        };
        let info = ModelInfo {
            metadata: program.metadata.clone(),
            vocab: program.vocab as usize,
            hidden: layout.hidden.map_or(0, |hidden| hidden.width as usize),
            max_positions: program.max_positions as usize,
            cache: program.cache,
            kernels: program.kernels.clone(),
            instructions: program.instructions.len(),
            weights: program.weights.len(),
            weight_bytes: program.weights.iter().map(|weight| weight.size).sum(),
            file_bytes: file.len() as u64,
            load_time: begin.elapsed(),
        };
        Ok(Arc::new(Model { code: Code::Program { file, verified }, info, layout, name }))
    }

    fn from_library(file: &[u8], path: Option<&Path>, name: String, begin: Instant) -> Result<Arc<Model>> {
        let native = Native::open(file, path).map_err(|error| error.in_place(&name))?;
        let library = native.library();
        let model = library.model();
        let layout = Layout {
            token_arena: model.token_arena,
            row_arena: model.row_arena,
            logits_offset: model.logits_offset,
            logits_stride: model.logits_stride,
            hidden: native.hidden().map_err(|error| error.in_place(&name))?,
            heads: native.query_heads().map_err(|error| error.in_place(&name))?,
        };
        let info = ModelInfo {
            metadata: library.metadata().map_err(|error| error.in_place(&name))?,
            vocab: model.vocab as usize,
            hidden: layout.hidden.map_or(0, |hidden| hidden.width as usize),
            max_positions: model.max_positions as usize,
            cache: native.cache(),
            kernels: native.kernels.clone(),
            instructions: model.instruction_count as usize,
            weights: model.weight_count as usize,
            weight_bytes: model.weights.size,
            file_bytes: file.len() as u64,
            load_time: begin.elapsed(),
        };
        Ok(Arc::new(Model { code: Code::Native(native), info, layout, name }))
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The program, where the artifact has it as data: a native one has only its code.
    pub fn program(&self) -> Option<&Program> {
        match &self.code {
            Code::Program { verified, .. } => Some(verified.program()),
            Code::Native(_) => None,
        }
    }

    /// What each of the program's instructions means; none where the artifact has its program as code.
    pub fn ops(&self) -> &[Op] {
        match &self.code {
            Code::Program { verified, .. } => verified.ops(),
            Code::Native(_) => &[],
        }
    }

    /// The path it was loaded from, or the name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tokens that end a text, as the checkpoint says.
    pub fn stop_tokens(&self) -> &[u32] {
        match &self.code {
            Code::Program { verified, .. } => &verified.program().stop_tokens,
            Code::Native(native) => &native.stop_tokens,
        }
    }

    /// The tokenizer inside the artifact, where there is one. Its tokens must be tokens of the model.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match self.tokenizer_bytes() {
            [] => Ok(None),
            bytes => Tokenizer::from_bytes(bytes).map(Some).map_err(|error| error.in_place(&self.name)),
        }
    }

    pub fn tokenizer_bytes(&self) -> &[u8] {
        match &self.code {
            Code::Program { file, verified } => verified.program().tokenizer_segment.of(file),
            Code::Native(native) => native.library().tokenizer(),
        }
    }

    /// The chat format inside the artifact, where there is one.
    pub fn chat_format(&self) -> Result<Option<ChatFormat>> {
        let bytes = match &self.code {
            Code::Program { file, verified } => verified.program().chat_segment.of(file),
            Code::Native(native) => native.library().chat(),
        };
        match bytes {
            [] => Ok(None),
            bytes => ChatFormat::from_bytes(bytes).map(Some).map_err(|error| error.in_place(&self.name)),
        }
    }

    pub(crate) fn weights(&self) -> &[u8] {
        match &self.code {
            Code::Program { file, verified } => verified.program().weights_segment.of(file),
            Code::Native(native) => native.weights(),
        }
    }

    pub(crate) fn code(&self) -> &Code {
        &self.code
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn at(&self, error: Error) -> Error {
        error.in_place(&self.name)
    }
}
