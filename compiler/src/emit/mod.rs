//! Writing programs to files.

pub mod constants;
mod pack;
pub mod pte;

pub use constants::{Constant, Constants};

use std::io;
use std::path::Path;

use crate::checkpoint::CheckpointError;
use crate::program::Program;

/// Everything that goes into a file.
#[derive(Debug)]
pub struct Artifact<'a> {
    pub program: &'a Program,
    /// Where the program's weights come from.
    pub constants: &'a Constants,
    /// For people: name, family, recipe.
    pub metadata: Vec<(String, String)>,
    pub stop_tokens: Vec<u32>,
    /// The runtime's tokenizer file; empty for none.
    pub tokenizer: Vec<u8>,
    /// The chat format's bytes; empty for none.
    pub chat: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    #[error("{path}: {}", reason(source))]
    Io { path: String, source: io::Error },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("weight {0}: {1}")]
    Weight(String, String),
    #[error("the file just written does not load, which is a bug: {0}")]
    Rejected(tcrt::Error),
    #[error("cancelled")]
    Cancelled,
}

impl EmitError {
    fn io(path: &Path) -> impl Fn(io::Error) -> EmitError {
        let path = path.display().to_string();
        move |source| EmitError::Io { path: path.clone(), source }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_string(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_string(),
        _ => error.to_string(),
    }
}
