//! A model's artifact in the cache, made on first use.

use std::path::PathBuf;
use std::time::Instant;

use tcc_core::hub::store;
use tcc_core::inspect::is_artifact;
use tcrt::Model;
use tcrt_cli::output::{Result, failure};

use crate::args::{Export, Subject};
use crate::output::{line, size};
use crate::progress;

/// The artifact to run: the file itself if it is one, else what the checkpoint is exported to.
pub fn of(subject: &Subject) -> Result<PathBuf> {
    let checkpoint = progress::resolve(&subject.model, subject.hf_token.clone())?;
    if is_artifact(&checkpoint) {
        let asked = subject.so || subject.pte || subject.format.quantize.is_some() || subject.format.dtype.is_some();
        let refusal = "is an artifact already; --quantize, --dtype, --so and --pte are for checkpoints";
        return if asked { failure(format!("{}: {refusal}", subject.model)) } else { Ok(checkpoint) };
    }
    let recipe = subject.format.recipe().map_err(line)?;
    let made = store::Made { checkpoint: &checkpoint, recipe: &recipe, native: subject.so };
    let artifact = made.path(&subject.model).map_err(line)?;
    // One that another version left behind or that is damaged is made again.
    if artifact.exists() && Model::load(&artifact).is_ok() {
        return Ok(artifact);
    }
    if let Some(folder) = artifact.parent() {
        std::fs::create_dir_all(folder).map_err(|error| line(format!("{}: {error}", folder.display())))?;
    }
    let begin = Instant::now();
    let export = Export { format: subject.format.clone(), ..Export::plain(&checkpoint, &artifact) };
    let written = crate::export::make(&export)?.written;
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("exported {} to {} in {seconds:.1} s", size(written.file_bytes), artifact.display());
    Ok(artifact)
}
