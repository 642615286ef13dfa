//! Directories as Meta publishes them: `params.json` and `consolidated.NN.pth`, one file for each GPU of its model-parallel run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::assemble::{Found, Named, assemble, name_all};
use super::error::{CheckpointError, Result, error};
use super::file::SourceFile;
use super::hf::{directory_name, read_json, read_weights};
use super::names::META;
use super::packed::{self, Scheme};
use super::single::seen;
use super::tensor::Tensor;
use super::{Checkpoint, Format, VocabularySource};
use crate::config::meta;

pub fn recognise(directory: &Path) -> bool {
    directory.join("params.json").is_file() && shards(directory).is_ok()
}

pub fn open(directory: &Path) -> Result<Checkpoint> {
    let path = directory.join("params.json");
    let params = read_json(&path)?;
    let scheme = Scheme::of(&params).map_err(|e| e.in_file(&path))?;
    let mut parts: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for path in shards(directory)? {
        let file = SourceFile::open(&path)?;
        let mut found = Found::new();
        read_weights(&file, &mut found)?;
        let found = packed::join(&scheme, found).map_err(|e| file.fault(e))?;
        for (name, tensor) in name_all(found, &META).map_err(|e| file.fault(e))? {
            parts.entry(name).or_default().push(tensor);
        }
    }
    let in_directory = |e: CheckpointError| e.in_file(directory);
    let named = merge(parts).map_err(in_directory)?;
    let seen = seen(&named).map_err(in_directory)?;
    let mut config = meta::parse(&params, seen).map_err(|e| CheckpointError::new(e).in_file(&path))?;
    config.name = directory_name(directory);
    let tensors = assemble(&config, named, META.rope_pairs).map_err(in_directory)?;
    let vocabulary = VocabularySource::Files(directory.to_path_buf());
    Ok(Checkpoint {
        format: Format::Meta,
        path: directory.to_path_buf(),
        config,
        tensors,
        vocabulary,
        chat_template: None,
    })
}

/// `consolidated.00.pth` and so on without a gap, or Mistral's one `consolidated.safetensors`.
fn shards(directory: &Path) -> Result<Vec<PathBuf>> {
    let single = directory.join("consolidated.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let shard = |number: usize| directory.join(format!("consolidated.{number:02}.pth"));
    let shards: Vec<PathBuf> = (0..100).map(shard).take_while(|path| path.is_file()).collect();
    let beyond = (shards.len()..100).map(shard).find(|path| path.is_file());
    match (shards.is_empty(), beyond) {
        (_, Some(beyond)) => {
            Err(error!("is there, but consolidated.{:02}.pth is missing", shards.len()).in_file(&beyond))
        }
        (true, None) => Err(error!("has no consolidated.00.pth").in_file(directory)),
        (false, None) => Ok(shards),
    }
}

/// The parts of each tensor put together along the axis by which its layer was divided. Norms are the same in all shards.
fn merge(parts: BTreeMap<String, Vec<Tensor>>) -> Result<Named> {
    let dim = parts.get("norm").and_then(|parts| parts.first()).map(Tensor::rows);
    let count = parts.values().map(Vec::len).max().unwrap_or(0);
    let mut merged = Named::new();
    for (name, mut parts) in parts {
        if parts.len() != count {
            return Err(error!("tensor {name}: is in {} of {count} shards", parts.len()));
        }
        let kind = name.rsplit('.').next().unwrap_or_default();
        let by_columns = match kind {
            "o" | "down" => true,
            // Llama 2 divided the embedding by columns, Llama 3 by rows.
            "embed" => parts.first().map(Tensor::cols) != dim,
            _ => false,
        };
        let tensor = match (parts.len(), kind.ends_with("norm"), by_columns) {
            (1, ..) | (_, true, _) => parts.swap_remove(0),
            (_, false, true) => Tensor::concat_cols(&name, parts)?,
            (_, false, false) => Tensor::concat_rows(&name, parts)?,
        };
        merged.insert(name, tensor);
    }
    Ok(merged)
}
