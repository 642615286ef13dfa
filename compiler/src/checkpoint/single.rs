//! One file of weights under Hugging Face's, Meta's, gpt-fast's, torchchat's or torchtune's names, with its shape inside, beside it,
//! or given by `--params-path`.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::assemble::{Found, Named, assemble, name_all};
use super::error::{CheckpointError, Result, error};
use super::file::SourceFile;
use super::hf::{chat_template, read_json};
use super::names::{HUGGING_FACE, META, Naming};
use super::packed::{self, Scheme};
use super::{Checkpoint, Format, OpenOptions, VocabularySource, safetensors, torch};
use crate::config::meta::Seen;
use crate::config::{ModelConfig, hf, meta};

/// llama2.c's training has its stories begin with token 1, and its programs stop at the next one; 2 ends texts of Llama 2.
const STORY_TOKENS: [u32; 2] = [1, 2];

pub fn recognise(bytes: &[u8]) -> bool {
    safetensors::recognise(bytes) || torch::recognise(bytes)
}

pub fn open(path: &Path, file: &Arc<SourceFile>, options: &OpenOptions) -> Result<Checkpoint> {
    let mut found = Found::new();
    let (format, model_args) = match safetensors::recognise(file.bytes()) {
        true => safetensors::read(file, &mut found).map(|()| (Format::Safetensors, None)),
        false => torch::read(file, &mut found).map(|extra| (Format::Torch, extra.model_args)),
    }?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let shape = Shape::find(directory, options, model_args.as_ref()).map_err(|e| file.fault(e))?;
    let scheme = shape.scheme().map_err(|e| file.fault(e))?;
    let found = packed::join(&scheme, found).map_err(|e| file.fault(e))?;
    let naming = naming(&found);
    let mut named = name_all(found, naming).map_err(|e| file.fault(e))?;
    drop_shared_head(&mut named);
    let seen = seen(&named).map_err(|e| file.fault(e))?;
    let mut config = shape.config(seen).map_err(|e| file.fault(e))?;
    if model_args.is_some() {
        add_story_tokens(&mut config);
    }
    if config.name.is_empty() {
        config.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    }
    let tensors = assemble(&config, named, naming.rope_pairs).map_err(|e| file.fault(e))?;
    Ok(Checkpoint {
        format,
        path: path.to_path_buf(),
        config,
        tensors,
        vocabulary: VocabularySource::Files(directory.to_path_buf()),
        chat_template: chat_template(directory)?,
    })
}

pub fn add_story_tokens(config: &mut ModelConfig) {
    config.stop_tokens = STORY_TOKENS.into_iter().filter(|token| (*token as usize) < config.vocab).collect();
    config.bos = config.stop_tokens.first().copied();
}

fn naming(found: &Found) -> &'static Naming {
    match found.keys().any(|name| name.starts_with("model.layers.") && name.contains(".self_attn.")) {
        true => &HUGGING_FACE,
        false => &META,
    }
}

/// A head that is the embedding's own bytes.
fn drop_shared_head(named: &mut Named) {
    if let (Some(embed), Some(head)) = (named.get("embed"), named.get("head"))
        && embed.is_same_place(head)
    {
        named.remove("head");
    }
}

/// What the tensors say about the shape.
pub fn seen(named: &Named) -> Result<Seen> {
    let rows =
        |name: &str| named.get(name).map(|tensor| tensor.rows()).ok_or_else(|| error!("tensor {name} is missing"));
    Ok(Seen { vocab: rows("embed")?, ffn: rows("layers.0.gate")?, tied: !named.contains_key("head") })
}

/// The JSON that gives a model's shape, and where it is.
struct Shape {
    json: Value,
    place: String,
}

impl Shape {
    /// From what the user gives, else from the file, else from what lies beside it.
    fn find(directory: &Path, options: &OpenOptions, inside: Option<&Value>) -> Result<Shape> {
        let beside =
            || ["params.json", "config.json"].map(|name| directory.join(name)).into_iter().find(|path| path.is_file());
        let in_file = |path: &Path| read_json(path).map(|json| Shape { json, place: path.display().to_string() });
        match (&options.params_path, inside) {
            (Some(path), _) => in_file(path),
            (None, Some(inside)) => Ok(Shape { json: inside.clone(), place: "model_args".to_string() }),
            (None, None) => match beside() {
                Some(path) => in_file(&path),
                None => {
                    Err(error!("does not say the model's shape; give a params.json or config.json with --params-path"))
                }
            },
        }
    }

    fn scheme(&self) -> Result<Scheme> {
        Scheme::of(&self.json).map_err(|e| e.at(&self.place))
    }

    fn config(&self, seen: Seen) -> Result<ModelConfig> {
        let config = match meta::recognise(&self.json) {
            true => meta::parse(&self.json, seen),
            false => hf::parse(&self.json),
        };
        config.map_err(|e| CheckpointError::new(e).at(&self.place))
    }
}
