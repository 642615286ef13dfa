//! Opening what the commands work on: a model, its tokenizer, its chat format.

use std::path::Path;
use std::sync::Arc;

use tcrt::chat::ChatFormat;
use tcrt::tokenizer::Tokenizer;
use tcrt::{EngineOptions, Model};

use crate::args;
use crate::output::{Failure, Result, failure};

pub fn model(path: &Path) -> Result<Arc<Model>> {
    Ok(Model::load(path)?)
}

pub fn tokenizer_file(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(|error| Failure::Line(format!("{}: {error}", path.display())))?;
    Ok(Tokenizer::from_bytes(&bytes).map_err(|error| error.in_place(path.display()))?)
}

/// The tokenizer given with `-z`, else the one in the file.
pub fn tokenizer_of(model: &Model, given: Option<&Path>) -> Result<Tokenizer> {
    if let Some(path) = given {
        return tokenizer_file(path);
    }
    match model.tokenizer()? {
        Some(tokenizer) => Ok(tokenizer),
        None => failure(format!("{}: holds no tokenizer: give one with -z", model.name())),
    }
}

pub fn chat_format(model: &Model) -> Result<ChatFormat> {
    match model.chat_format()? {
        Some(format) => Ok(format),
        None => failure(format!("{}: holds no chat format: it may be a base model", model.name())),
    }
}

pub fn engine_options(args: &args::Engine) -> EngineOptions {
    let default = EngineOptions::default();
    EngineOptions {
        threads: args.threads.unwrap_or(default.threads),
        chunk: args.chunk.unwrap_or(default.chunk),
        context: args.context.unwrap_or(default.context),
        kv_dtype: args.kv.0,
        ..default
    }
}
