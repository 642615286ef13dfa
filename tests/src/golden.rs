//! The goldens under `tests/goldens`: logits of `transformers` in f32 on synthetic weights (`tests/goldens/make_goldens.py`).

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;

use crate::synthetic;

/// One architecture: the checkpoint to derive and what `transformers` computes with it.
#[derive(Debug)]
pub struct Golden {
    pub name: String,
    /// What the file's metadata entry `golden` holds.
    pub checkpoint: Checkpoint,
    pub sequences: Vec<Sequence>,
}

/// A synthetic checkpoint: its `config.json`, and the names and shapes its weights derive from.
#[derive(Debug, Deserialize)]
pub struct Checkpoint {
    pub config: serde_json::Map<String, serde_json::Value>,
    pub seed: u64,
    pub tensors: BTreeMap<String, Vec<usize>>,
}

/// A prompt and the logits at some of its positions.
#[derive(Debug)]
pub struct Sequence {
    pub name: String,
    pub tokens: Vec<u32>,
    /// The positions whose logits are kept, ascending.
    pub rows: Vec<usize>,
    /// One vector over the vocabulary for each of `rows`.
    pub logits: Vec<Vec<f32>>,
}

/// `tests/goldens`.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// The names of all goldens, sorted.
pub fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory())? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        names.extend(file.strip_suffix(".safetensors").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

impl Golden {
    pub fn load(name: &str) -> Result<Golden, Box<dyn Error>> {
        let data = fs::read(directory().join(format!("{name}.safetensors")))?;
        let (_, header) = SafeTensors::read_metadata(&data)?;
        let text = header.metadata().as_ref().and_then(|m| m.get("golden")).ok_or("no metadata entry \"golden\"")?;
        let checkpoint = serde_json::from_str(text)?;
        let tensors = SafeTensors::deserialize(&data)?;
        let mut sequences = Vec::new();
        for tensor in tensors.names() {
            if let Some(sequence) = tensor.strip_suffix(".tokens") {
                sequences.push(Sequence::read(&tensors, sequence)?);
            }
        }
        sequences.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Golden { name: name.to_owned(), checkpoint, sequences })
    }
}

impl Sequence {
    fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<Sequence, Box<dyn Error>> {
        let tokens = integers(&tensors.tensor(&format!("{name}.tokens"))?)?;
        let rows: Vec<usize> =
            integers(&tensors.tensor(&format!("{name}.rows"))?)?.into_iter().map(|r| r as usize).collect();
        let view = tensors.tensor(&format!("{name}.logits"))?;
        let [count, vocab] = view.shape() else {
            return Err(format!("{name}.logits: shape {:?}", view.shape()).into());
        };
        if view.dtype() != Dtype::F32 || *count != rows.len() || rows.iter().any(|&r| r >= tokens.len()) {
            return Err(format!("{name}: rows {rows:?} of {} tokens, logits of {count}", tokens.len()).into());
        }
        let values: Vec<f32> = words(view.data()).map(f32::from_le_bytes).collect();
        Ok(Sequence {
            name: name.to_owned(),
            tokens,
            rows,
            logits: values.chunks(*vocab).map(<[f32]>::to_vec).collect(),
        })
    }
}

fn words(data: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    data.chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]])
}

fn integers(view: &TensorView<'_>) -> Result<Vec<u32>, Box<dyn Error>> {
    if view.dtype() != Dtype::I32 {
        return Err(format!("{:?}, not I32", view.dtype()).into());
    }
    Ok(words(view.data()).map(u32::from_le_bytes).collect())
}

impl Checkpoint {
    /// Writes a Hugging Face directory in f32: one `model.safetensors`, or for `shards > 1` as many files with their index.
    pub fn write_hugging_face(&self, dir: &Path, shards: usize) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&self.config)?)?;
        if shards <= 1 {
            return self.write_file(&dir.join("model.safetensors"), self.tensors.keys());
        }
        // Dealt out in turn, so that every layer's tensors lie in several files.
        let file = |shard: usize| format!("model-{:05}-of-{shards:05}.safetensors", shard + 1);
        for shard in 0..shards {
            self.write_file(&dir.join(file(shard)), self.tensors.keys().skip(shard).step_by(shards))?;
        }
        let places: BTreeMap<_, _> =
            self.tensors.keys().enumerate().map(|(i, name)| (name, file(i % shards))).collect();
        let index = serde_json::json!({ "metadata": {}, "weight_map": places });
        fs::write(dir.join("model.safetensors.index.json"), serde_json::to_vec_pretty(&index)?)?;
        Ok(())
    }

    fn write_file<'a>(&self, path: &Path, names: impl Iterator<Item = &'a String>) -> Result<(), Box<dyn Error>> {
        let data: Vec<(&String, Vec<u8>)> = names
            .map(|name| {
                let values = synthetic::tensor(name, &self.tensors[name], self.seed);
                (name, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            })
            .collect();
        let mut views = Vec::new();
        for (name, bytes) in &data {
            views.push((name.as_str(), TensorView::new(Dtype::F32, self.tensors[*name].clone(), bytes)?));
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(views, Some(metadata), path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_has_a_golden_that_loads() {
        let names = names().unwrap();
        assert!(names.len() >= 23, "{names:?}");
        for name in names {
            let golden = Golden::load(&name).unwrap_or_else(|e| panic!("{name}: {e}"));
            let vocab = golden.checkpoint.config["vocab_size"].as_u64().unwrap();
            assert!(golden.sequences.len() >= 2, "{name}");
            for sequence in &golden.sequences {
                assert!(sequence.tokens.iter().all(|&t| u64::from(t) < vocab), "{name}/{}", sequence.name);
                assert!(
                    sequence.logits.iter().all(|row| row.len() as u64 == vocab && row.iter().all(|l| l.is_finite()))
                );
            }
        }
    }

    #[test]
    fn shards_hold_the_same_tensors_as_one_file() {
        let checkpoint = Golden::load("llama-biases").unwrap().checkpoint;
        let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        checkpoint.write_hugging_face(one.path(), 1).unwrap();
        checkpoint.write_hugging_face(many.path(), 3).unwrap();
        let whole = fs::read(one.path().join("model.safetensors")).unwrap();
        let whole = SafeTensors::deserialize(&whole).unwrap();
        assert_eq!(whole.len(), checkpoint.tensors.len());
        let index = fs::read(many.path().join("model.safetensors.index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        for name in checkpoint.tensors.keys() {
            let shard = fs::read(many.path().join(index["weight_map"][name].as_str().unwrap())).unwrap();
            let shard = SafeTensors::deserialize(&shard).unwrap();
            assert_eq!(shard.tensor(name).unwrap(), whole.tensor(name).unwrap(), "{name}");
        }
    }
}
