//! Directories as Hugging Face's libraries write them: `config.json`, and weights in one or many files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::assemble::{Found, assemble, name_all};
use super::error::{CheckpointError, Result, error};
use super::file::SourceFile;
use super::packed::{self, Scheme};
use super::{Checkpoint, Format, VocabularySource, names, safetensors, torch};
use crate::config::hf;

/// The names that weights go by, in the order in which Hugging Face's libraries look for them.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Whether a directory has weights under one of the usual names.
pub fn recognise(directory: &Path) -> bool {
    directory.join("config.json").is_file() && weight_files(directory).is_ok()
}

pub fn open(directory: &Path) -> Result<Checkpoint> {
    let path = directory.join("config.json");
    let json = read_json(&path)?;
    let mut config = hf::parse(&json).map_err(|e| CheckpointError::new(e).in_file(&path))?;
    let scheme = Scheme::of(&json).map_err(|e| e.in_file(&path))?;
    add_generation_tokens(directory, &mut config)?;
    if config.name.is_empty() {
        config.name = directory_name(directory);
    }
    let mut found = Found::new();
    for path in weight_files(directory)? {
        let file = SourceFile::open(&path)?;
        read_weights(&file, &mut found)?;
    }
    let in_directory = |e: CheckpointError| e.in_file(directory);
    let found = packed::join(&scheme, found).map_err(in_directory)?;
    let named = name_all(found, &names::HUGGING_FACE).map_err(in_directory)?;
    let tensors = assemble(&config, named, names::HUGGING_FACE.rope_pairs).map_err(in_directory)?;
    Ok(Checkpoint {
        format: Format::HuggingFace,
        path: directory.to_path_buf(),
        config,
        tensors,
        vocabulary: VocabularySource::Files(directory.to_path_buf()),
        chat_template: chat_template(directory)?,
    })
}

/// The tensors of a file of weights, whatever its name.
pub fn read_weights(file: &Arc<SourceFile>, found: &mut Found) -> Result<()> {
    match safetensors::recognise(file.bytes()) {
        true => safetensors::read(file, found),
        false => torch::read(file, found).map(drop),
    }
}

/// The one file, or all those that the index names; each must be there.
fn weight_files(directory: &Path) -> Result<Vec<PathBuf>> {
    for name in WEIGHTS {
        let index = directory.join(format!("{name}.index.json"));
        if index.is_file() {
            return shards(directory, &index);
        }
        let single = directory.join(name);
        if single.is_file() {
            return Ok(vec![single]);
        }
    }
    Err(error!("has no model.safetensors or pytorch_model.bin, and no index of shards").in_file(directory))
}

fn shards(directory: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    let fault = |e: CheckpointError| e.in_file(index);
    let json = read_json(index)?;
    let map =
        json.get("weight_map").and_then(Value::as_object).ok_or_else(|| fault(error!("has no \"weight_map\"")))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let name = file.as_str().ok_or_else(|| fault(error!("tensor {tensor} is in {file}, which is no file")))?;
        // Only files beside the index: an index must not reach elsewhere.
        if Path::new(name).components().count() != 1 || name.contains("..") {
            return Err(fault(error!("tensor {tensor} is in \"{name}\", which is not a file of this directory")));
        }
        names.insert(name);
    }
    match names.iter().find(|name| !directory.join(name).is_file()) {
        Some(missing) => Err(fault(error!("the shard {missing} is missing"))),
        None => Ok(names.into_iter().map(|name| directory.join(name)).collect()),
    }
}

/// `generation_config.json` often names more stop tokens than `config.json` does.
fn add_generation_tokens(directory: &Path, config: &mut crate::config::ModelConfig) -> Result<()> {
    let path = directory.join("generation_config.json");
    if !path.is_file() {
        return Ok(());
    }
    let fault = |e: String| CheckpointError::new(e).in_file(&path);
    let tokens = hf::generation_tokens(&read_json(&path)?).map_err(fault)?;
    config.bos = config.bos.or(tokens.bos);
    for token in tokens.stop {
        if !config.stop_tokens.contains(&token) {
            config.stop_tokens.push(token);
        }
    }
    config.check().map_err(fault)
}

/// Where a chat template may be, the newest way first.
pub fn chat_template(directory: &Path) -> Result<Option<String>> {
    let path = directory.join("chat_template.jinja");
    if path.is_file() {
        return std::fs::read_to_string(&path).map(Some).map_err(|e| CheckpointError::new(e).in_file(&path));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let path = directory.join(name);
        if !path.is_file() {
            continue;
        }
        if let Some(template) = read_json(&path)?.get("chat_template").and_then(template_text) {
            return Ok(Some(template));
        }
    }
    Ok(None)
}

/// One template, or the one named "default" of a list of named ones.
fn template_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?;
            default.get("template")?.as_str().map(str::to_string)
        }
        _ => None,
    }
}

pub fn read_json(path: &Path) -> Result<Value> {
    let fault = |e: CheckpointError| e.in_file(path);
    let bytes = std::fs::read(path).map_err(|e| fault(CheckpointError::new(e)))?;
    serde_json::from_slice(&bytes).map_err(|e| fault(CheckpointError::new(e)))
}

/// What a directory is called, wherever it is reached from.
pub fn directory_name(directory: &Path) -> String {
    let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
