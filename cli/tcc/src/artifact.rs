//! A model's artifact in the cache, made on first use.

use std::path::PathBuf;
use std::time::Instant;

use tcc_core::hub::{self, store};
use tcc_core::inspect::is_artifact;
use tcrt::Model;
use tcrt_cli::output::{Result, failure, note};

use crate::args::{Export, Making};
use crate::output::{line, size};
use crate::progress;

/// The artifact to run: the file itself if it is one, else what the checkpoint is exported to.
pub fn of(model: &str, making: &Making) -> Result<PathBuf> {
    let checkpoint = progress::resolve(model, making.hf_token.clone())?;
    if is_artifact(&checkpoint) {
        let asked = making.so || making.pte || making.format.quantize.is_some() || making.format.dtype.is_some();
        let refusal = "is an artifact already; --quantize, --dtype, --so and --pte are for checkpoints";
        return if asked { failure(format!("{}: {refusal}", model)) } else { Ok(checkpoint) };
    }
    let recipe = making.format.recipe().map_err(line)?;
    let calibration = making.format.calibration().map_err(line)?;
    let calibration = calibration.as_deref();
    let made = store::Made { checkpoint: &checkpoint, recipe: &recipe, calibration, native: making.so };
    let artifact = made.path(&hub::called(model).map_err(line)?).map_err(line)?;
    // One that another version left behind or that is damaged is made again.
    if artifact.exists() && Model::load(&artifact).is_ok() {
        return Ok(artifact);
    }
    if let Some(folder) = artifact.parent() {
        std::fs::create_dir_all(folder).map_err(|error| line(format!("{}: {error}", folder.display())))?;
    }
    let begin = Instant::now();
    let export = Export { format: making.format.clone(), ..Export::plain(model, &artifact) };
    let written = crate::export::make(&export)?.written;
    let seconds = begin.elapsed().as_secs_f64();
    note(format_args!("exported {} to {} in {seconds:.1} s", size(written.file_bytes), artifact.display()));
    Ok(artifact)
}
