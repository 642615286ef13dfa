//! Writing programs to files.

pub mod constants;
mod pack;
pub mod pte;
pub mod so;
mod weights;

pub use constants::{Constant, Constants};
pub use weights::Progress;

use crate::checkpoint::CheckpointError;
use crate::files::WriteError;
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

#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub file_bytes: u64,
    pub weight_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("weight {0}: {1}")]
    Weight(String, String),
    #[error("the file just written does not load, which is a bug: {0}")]
    Rejected(tcrt::Error),
    #[error("generating code: {0}")]
    Code(String),
    #[error("cancelled")]
    Cancelled,
}
