//! Native artifacts (`model.so`): checked as a file, loaded by the system, described by `include/tcrt_model.h`.
//!
//! A shared object is code, and loading one is trusting it: its descriptor is checked so that a mistake gives an error, but nothing
//! here protects from an artifact that means harm.

pub mod abi;
pub mod elf;
mod weights;

use crate::program::Cache;
use crate::program::verify::check_sizes;
use crate::sys::{Library, Mapping};
use crate::{Error, ErrorKind, Result};
use std::path::Path;
use tc_kernels::abi::{Call, args_size};
use tc_kernels::layout::padded_width;

pub use weights::encode_header as encode_weights_header;

/// Instructions of the deepest model there might be.
const MAX_STEPS: u32 = 1 << 20;

/// A loaded artifact, its descriptor checked.
pub(crate) struct Native {
    library: Library,
    /// Where they are not inside.
    weights: Option<Mapping>,
    pub kernels: Vec<String>,
    pub stop_tokens: Vec<u32>,
}

/// Whether a file is to be loaded as a native artifact.
pub fn is_native(file: &[u8]) -> bool {
    file.starts_with(&elf::MAGIC)
}

impl Native {
    /// Checks the file's bytes, then has the system load it from `path`.
    pub fn open(file: &[u8], path: &Path) -> Result<Native> {
        elf::check(file)?;
        let library = Library::open(path)?;
        let model = library.model();
        elf::check_version(model.major, model.minor)?;
        if model.call_size as usize > size_of::<Call>() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("reads {} bytes of a call, this runtime has {}", model.call_size, size_of::<Call>()),
            ));
        }
        check_sizes(model.vocab, model.max_positions, cache(&library), model.token_arena, model.row_arena)?;
        check_logits(&library)?;
        if model.steps > MAX_STEPS {
            return Err(Error::invalid_file(format!("{} steps are more than {MAX_STEPS}", model.steps)));
        }
        let kernels = library.kernels()?.into_iter().map(known).collect::<Result<_>>()?;
        let weights = match library.weights_inside() {
            true => None,
            false => Some(weights::open(path, &library.weights_file()?, model.weights.size, &model.weights.id)?),
        };
        Ok(Native { stop_tokens: library.stop_tokens()?, kernels, weights, library })
    }

    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Steps of the schedule whose tasks are handed out.
    pub fn steps(&self) -> usize {
        self.library.model().steps as usize
    }

    pub fn cache(&self) -> Cache {
        cache(&self.library)
    }

    pub fn weights(&self) -> &[u8] {
        match &self.weights {
            Some(file) => weights::of(file),
            None => self.library.weights(),
        }
    }
}

fn cache(library: &Library) -> Cache {
    let model = library.model();
    Cache { layers: model.layers, kv_heads: model.kv_heads, head_dim: model.head_dim }
}

fn check_logits(library: &Library) -> Result<()> {
    let model = library.model();
    let end = model.logits_offset.checked_add(u64::from(model.logits_stride));
    let wide = model.logits_stride as usize >= 4 * padded_width(model.vocab as usize);
    let aligned = model.logits_offset.is_multiple_of(64) && model.logits_stride.is_multiple_of(64);
    if !wide || !aligned || end.is_none_or(|end| end > model.row_arena) {
        return Err(Error::invalid_file(format!(
            "logits: rows of {} bytes at {} do not hold {} values in the arena's {}",
            model.logits_stride, model.logits_offset, model.vocab, model.row_arena
        )));
    }
    Ok(())
}

/// The kernel's name, where this runtime has the kernel that the artifact was made for.
fn known((name, size): (String, u64)) -> Result<String> {
    let refuse = |message: String| Err(Error::new(ErrorKind::Unsupported, message));
    match args_size(&name) {
        None => refuse(format!("this runtime has no kernel '{}'", name.escape_debug())),
        Some(ours) if ours as u64 != size => {
            refuse(format!("kernel '{name}': made for {size} bytes of arguments, this runtime's takes {ours}"))
        }
        Some(_) => Ok(name),
    }
}
