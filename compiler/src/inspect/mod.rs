//! What `tcc inspect` shows: a checkpoint's config and tensors, an artifact's program and memory plan, a model's graph after any
//! pass. What a file is shows in its content.

mod artifact;
mod disassembly;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tcrt::Model;
use tcrt::program::header::MAGIC;
use tcrt::sys::Mapping;

use crate::checkpoint::{self, CheckpointError, OpenOptions};
use crate::export::{CompileError, FRONTEND, compile};
use crate::passes;
use crate::recipe::Recipe;

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Artifact(#[from] tcrt::Error),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("{0} is an artifact: it holds a program, its graph is gone; give --ir the checkpoint")]
    NoGraph(String),
    #[error("{0}: {1}")]
    NoCode(String, String),
    #[error("there is no pass {0:?}; there are {1}")]
    UnknownPass(String, String),
}

/// Config, tensors or instructions, memory plan: as text.
pub fn inspect(path: &Path, params_path: Option<PathBuf>) -> Result<String, InspectError> {
    if is_artifact(path) {
        return Ok(artifact::describe(&*Model::load(path)?));
    }
    let checkpoint = checkpoint::open(path, &OpenOptions { params_path })?;
    Ok(checkpoint::summarize(&checkpoint).to_string())
}

/// A native artifact's machine code, with the tensor ops it came from. Nothing of it is run.
pub fn disassembly(path: &Path) -> Result<String, InspectError> {
    let file = Mapping::open(path)?;
    disassembly::disassemble(&file).map_err(|why| InspectError::NoCode(path.display().to_string(), why))
}

/// The graph after the pass of this name, after all of them, or as the model builder made it ("frontend").
pub fn graph(
    path: &Path,
    params_path: Option<PathBuf>,
    recipe: &Recipe,
    pass: Option<&str>,
) -> Result<String, InspectError> {
    check_pass(pass)?;
    if is_artifact(path) {
        return Err(InspectError::NoGraph(path.display().to_string()));
    }
    let checkpoint = checkpoint::open(path, &OpenOptions { params_path })?;
    let mut text = String::new();
    let compiled = compile(&checkpoint.config, &checkpoint.tensors, recipe, &mut |name, graph| {
        if pass == Some(name) {
            text = graph.to_string();
        }
    })?;
    match (pass, text.is_empty()) {
        (None, _) => Ok(compiled.graph.to_string()),
        (Some(_), false) => Ok(text),
        (Some(pass), true) => Ok(format!("// {pass} does not run with this recipe\n{}", compiled.graph)),
    }
}

/// Refuses a name that is no pass.
pub fn check_pass(name: Option<&str>) -> Result<(), InspectError> {
    match name {
        Some(name) if name != FRONTEND && passes::find(name).is_none() => {
            let mut known = FRONTEND.to_string();
            for pass in passes::PASSES {
                let _ = write!(known, ", {}", pass.name);
            }
            Err(InspectError::UnknownPass(name.to_string(), known))
        }
        _ => Ok(()),
    }
}

/// Whether the file is one that the runtime loads, of either kind.
pub fn is_artifact(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && (magic == MAGIC || tcrt::native::is_native(&magic))
}
