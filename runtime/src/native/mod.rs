//! Native artifacts (`model.so`): checked as a file, loaded by the system, described by `include/tcrt_model.h`.
//!
//! A shared object is code, and loading one is trusting it: its descriptor is checked so that a mistake gives an error, but nothing
//! here protects from an artifact that means harm.

pub mod abi;
pub mod elf;
mod weights;

use crate::program::verify::{Hidden, MAX_DIM, check_sizes};
use crate::program::{BufferKind, Cache};
use crate::sys::{Library, Mapping, SealedFile};
use crate::{Error, ErrorKind, Result};
use std::path::Path;
use tc_kernels::abi::{Call, args_size};

use abi::Descriptor;
pub use weights::encode_header as encode_weights_header;

/// Instructions of the deepest model there might be.
const MAX_STEPS: u32 = 1 << 20;

/// A loaded artifact, its descriptor checked.
pub(crate) struct Native {
    library: Library,
    /// What the system loaded, where it was no file. It stays open until the library is gone (fields are dropped in order): only so
    /// long does no other one get its path, by which the system knows libraries.
    _memory: Option<SealedFile>,
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
    /// Checks the file's bytes, then has the system load it from `path`, or from memory where it has none.
    pub fn open(file: &[u8], path: Option<&Path>) -> Result<Native> {
        elf::check(file)?;
        let (library, memory) = load(file, path)?;
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
        Ok(Native { stop_tokens: library.stop_tokens()?, kernels, weights, library, _memory: memory })
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

    /// Where the code leaves hidden states, where it says so.
    pub fn hidden(&self) -> Result<Option<Hidden>> {
        let model = self.library.model();
        let (offset, stride, width) = (model.hidden_offset, model.hidden_stride, model.hidden_width);
        if width == 0 {
            return Ok(None);
        }
        let kind = match model.hidden_kind {
            abi::HIDDEN_F32 => BufferKind::F32,
            abi::HIDDEN_Q8 => BufferKind::Q8,
            abi::HIDDEN_Q8X2 => BufferKind::Q8x2,
            other => return Err(Error::invalid_file(format!("hidden_kind: {other} is none"))),
        };
        let end = offset.checked_add(u64::from(stride));
        let aligned = offset.is_multiple_of(64) && (stride as usize).is_multiple_of(kind.alignment());
        if width > MAX_DIM
            || (stride as usize) < kind.row_bytes(width as usize)
            || !aligned
            || end.is_none_or(|end| end > model.row_arena)
        {
            let message = format!("hidden states: rows of {stride} bytes at {offset} do not hold {width} values");
            return Err(Error::invalid_file(message));
        }
        Ok(Some(Hidden { offset, stride, width, kind }))
    }

    /// Query heads of the attention that has the most; 0 where the artifact does not say.
    pub fn query_heads(&self) -> Result<u32> {
        let &Descriptor { heads, kv_heads, .. } = self.library.model();
        if heads > MAX_DIM || !heads.is_multiple_of(kv_heads) {
            return Err(Error::invalid_file(format!("{heads} query heads for {kv_heads} KV heads")));
        }
        Ok(heads)
    }

    pub fn weights(&self) -> &[u8] {
        match &self.weights {
            Some(file) => weights::of(file),
            None => self.library.weights(),
        }
    }
}

fn load(file: &[u8], path: Option<&Path>) -> Result<(Library, Option<SealedFile>)> {
    let Some(path) = path else {
        let memory = SealedFile::new(file)?;
        return Ok((Library::open(&memory.path())?, Some(memory)));
    };
    let path = path.canonicalize().map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    Ok((Library::open(&path)?, None))
}

fn cache(library: &Library) -> Cache {
    let model = library.model();
    Cache { layers: model.layers, kv_heads: model.kv_heads, head_dim: model.head_dim }
}

fn check_logits(library: &Library) -> Result<()> {
    let model = library.model();
    let end = model.logits_offset.checked_add(u64::from(model.logits_stride));
    let wide = model.logits_stride as usize >= BufferKind::F32.row_bytes(model.vocab as usize);
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
