//! llama2.c's `.bin` files (`export.py` there).
//!
//! The legacy header is 7 i32: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: the head has weights of its
//! own), max_seq_len. Versions 1 and 2 have a magic number and a version before them, a byte after them that says whether the head
//! is shared (version 2: and the group size), and 256 bytes in all. What follows is in a fixed order, matrices of one kind layer
//! by layer.

use std::path::Path;
use std::sync::Arc;

use super::assemble::{Named, assemble};
use super::encoding::Encoding;
use super::error::{Result, error};
use super::file::{Cursor, SourceFile};
use super::single::add_story_tokens;
use super::tensor::{Place, Tensor};
use super::{Checkpoint, Format, VocabularySource};
use crate::config::ModelConfig;

/// "ak42", as the file begins with "24ka".
const MAGIC: u32 = 0x616b_3432;
const HEADER_BYTES: usize = 256;

/// How tensors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Legacy,
    Float,
    Groups(usize),
}

/// The versions have a magic number; a legacy file is one whose size follows from its header.
pub fn recognise(bytes: &[u8]) -> bool {
    let magic = Cursor::new(bytes).u32();
    magic == Ok(MAGIC)
        || read_header(bytes).is_ok_and(|(config, version)| length(&config, version) == Some(bytes.len()))
}

pub fn open(path: &Path, file: &Arc<SourceFile>) -> Result<Checkpoint> {
    let (mut config, version) = read_header(file.bytes()).map_err(|e| file.fault(e))?;
    add_story_tokens(&mut config);
    config.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut layout = Layout { file, version, at: header_len(version), named: Named::new() };
    layout.all(&config)?;
    let end = layout.at;
    if end != file.bytes().len() {
        return Err(file.fault(error!("is {} bytes long, but its header makes it {end}", file.bytes().len())));
    }
    let tensors = assemble(&config, layout.named, true).map_err(|e| file.fault(e))?;
    let vocabulary = VocabularySource::None;
    Ok(Checkpoint {
        format: Format::Llama2C,
        path: path.to_path_buf(),
        config,
        tensors,
        vocabulary,
        chat_template: None,
    })
}

fn header_len(version: Version) -> usize {
    if version == Version::Legacy { 7 * size_of::<i32>() } else { HEADER_BYTES }
}

fn read_header(bytes: &[u8]) -> Result<(ModelConfig, Version)> {
    let mut cursor = Cursor::new(bytes);
    let mut number = None;
    if cursor.clone().u32()? == MAGIC {
        cursor.u32()?;
        number = Some(cursor.i32()?);
    }
    let mut sizes = [0i32; 7];
    for size in &mut sizes {
        *size = cursor.i32()?;
    }
    let [dim, ffn, layers, heads, kv_heads, vocab, positions] = sizes;
    let (tied, version) = match number {
        None => (vocab > 0, Version::Legacy),
        Some(1) => (cursor.u8()? != 0, Version::Float),
        Some(2) => (cursor.u8()? != 0, Version::Groups(size("group size", cursor.i32()?)?)),
        Some(other) => return Err(error!("is version {other} of llama2.c's format; 1 and 2 are supported")),
    };
    let (dim, heads) = (size("dim", dim)?, size("n_heads", heads)?);
    let config = ModelConfig {
        dim,
        layers: size("n_layers", layers)?,
        heads,
        kv_heads: size("n_kv_heads", kv_heads)?,
        head_dim: dim / heads,
        ffn: size("hidden_dim", ffn)?,
        vocab: size("vocab_size", if number.is_none() { vocab.saturating_abs() } else { vocab })?,
        max_positions: size("max_seq_len", positions)?,
        tied,
        ..ModelConfig::plain()
    };
    config.check()?;
    Ok((config, version))
}

fn size(what: &str, value: i32) -> Result<usize> {
    match usize::try_from(value) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(error!("its header has a {what} of {value}")),
    }
}

/// Bytes of a whole legacy file; `None` for the versions, which are recognised by their magic number.
fn length(config: &ModelConfig, version: Version) -> Option<usize> {
    let all = super::assemble::expected(config);
    let elements = all.iter().try_fold(rope_table(config)?, |sum, (_, shape)| {
        sum.checked_add(shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?)
    })?;
    match version {
        Version::Legacy => elements.checked_mul(4)?.checked_add(header_len(version)),
        Version::Float | Version::Groups(_) => None,
    }
}

/// Legacy files hold the cosines and sines of all positions; they are computed anew.
fn rope_table(config: &ModelConfig) -> Option<usize> {
    config.max_positions.checked_mul(config.head_dim)
}

/// Walks through the file in its fixed order.
struct Layout<'a> {
    file: &'a Arc<SourceFile>,
    version: Version,
    at: usize,
    named: Named,
}

impl Layout<'_> {
    fn all(&mut self, config: &ModelConfig) -> Result<()> {
        let (dim, ffn, q, kv) = (config.dim, config.ffn, config.q_width(), config.kv_width());
        let attention = [("q", [q, dim]), ("k", [kv, dim]), ("v", [kv, dim]), ("o", [dim, q])];
        let feed_forward = [("gate", [ffn, dim]), ("down", [dim, ffn]), ("up", [ffn, dim])];
        let legacy = self.version == Version::Legacy;
        if legacy {
            self.matrix("embed".to_string(), &[config.vocab, dim])?;
            self.norms(config, "attn_norm")?;
            self.each_layer(config, &attention)?;
            self.norms(config, "ffn_norm")?;
            self.each_layer(config, &feed_forward)?;
            self.vector("norm".to_string(), dim)?;
            self.skip(rope_table(config).and_then(|elements| elements.checked_mul(4)))?;
        } else {
            self.norms(config, "attn_norm")?;
            self.norms(config, "ffn_norm")?;
            self.vector("norm".to_string(), dim)?;
            self.matrix("embed".to_string(), &[config.vocab, dim])?;
            self.each_layer(config, &attention)?;
            self.each_layer(config, &feed_forward)?;
        }
        if !config.tied {
            self.matrix("head".to_string(), &[config.vocab, dim])?;
        }
        Ok(())
    }

    fn norms(&mut self, config: &ModelConfig, name: &str) -> Result<()> {
        (0..config.layers).try_for_each(|layer| self.vector(format!("layers.{layer}.{name}"), config.dim))
    }

    fn each_layer(&mut self, config: &ModelConfig, matrices: &[(&str, [usize; 2])]) -> Result<()> {
        for (name, shape) in matrices {
            for layer in 0..config.layers {
                self.matrix(format!("layers.{layer}.{name}"), shape)?;
            }
        }
        Ok(())
    }

    fn vector(&mut self, name: String, len: usize) -> Result<()> {
        self.float(name, &[len])
    }

    fn matrix(&mut self, name: String, shape: &[usize; 2]) -> Result<()> {
        match self.version {
            Version::Legacy | Version::Float => self.float(name, shape),
            Version::Groups(group) => {
                let tensor = Tensor::int8_groups(&name, shape, Arc::clone(self.file), self.at, group)?;
                self.add(name, tensor)
            }
        }
    }

    fn float(&mut self, name: String, shape: &[usize]) -> Result<()> {
        let place = Place { file: Arc::clone(self.file), offset: self.at, encoding: Encoding::F32 };
        let tensor = Tensor::stored(&name, shape, place)?;
        self.add(name, tensor)
    }

    fn add(&mut self, name: String, tensor: Tensor) -> Result<()> {
        self.skip(Some(tensor.stored_bytes()))?;
        self.named.insert(name, tensor);
        Ok(())
    }

    fn skip(&mut self, bytes: Option<usize>) -> Result<()> {
        let end = bytes.and_then(|bytes| self.at.checked_add(bytes)).filter(|end| *end <= self.file.bytes().len());
        self.at =
            end.ok_or_else(|| self.file.fault(error!("ends before byte {} plus {bytes:?} (truncated?)", self.at)))?;
        Ok(())
    }
}
