//! From a checkpoint to a model that runs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tc_targets::Target;
use tc_tests::golden::Golden;
use tcc_core::export::{ExportOptions, export};
use tcc_core::recipe::Recipe;
use tcrt::Model;

/// `params_path` gives the shape where the checkpoint has none.
pub fn model(path: &Path, params_path: Option<PathBuf>, recipe: &str) -> Result<Arc<Model>, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let output = scratch.path().join("model.pte");
    write(path, params_path, recipe, None, &output)?;
    // The mapped file outlives its name.
    Ok(Model::load(&output)?)
}

/// As `model`, as native code for this machine.
pub fn native(path: &Path, recipe: &str) -> Result<Arc<Model>, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let output = scratch.path().join("model.so");
    write(path, None, recipe, None, &output)?;
    Ok(Model::load(&output)?)
}

/// `target` is this machine where there is none.
fn write(
    path: &Path,
    params_path: Option<PathBuf>,
    recipe: &str,
    target: Option<&'static Target>,
    output: &Path,
) -> Result<(), Box<dyn Error>> {
    let options = ExportOptions { recipe: Recipe::from_json(recipe)?, params_path, target, ..ExportOptions::default() };
    export(path, output, options)?;
    Ok(())
}

/// The model, and the bytes of its file.
pub fn golden_file(golden: &Golden, recipe: &str) -> Result<(Arc<Model>, Vec<u8>), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("model.pte");
    golden_export(golden, recipe, None, &output)?;
    Ok((Model::load(&output)?, std::fs::read(&output)?))
}

pub fn golden_model(golden: &Golden, recipe: &str) -> Result<Arc<Model>, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    golden.checkpoint.write_hugging_face(dir.path(), 1)?;
    model(dir.path(), None, recipe)
}

/// As `golden_model`, as native code for this machine.
pub fn golden_native(golden: &Golden, recipe: &str) -> Result<Arc<Model>, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("model.so");
    golden_export(golden, recipe, None, &output)?;
    // What is loaded outlives its name.
    Ok(Model::load(&output)?)
}

/// Writes an artifact of the kind that its name says.
pub fn golden_export(
    golden: &Golden,
    recipe: &str,
    target: Option<&'static Target>,
    output: &Path,
) -> Result<(), Box<dyn Error>> {
    let checkpoint = tempfile::tempdir()?;
    golden.checkpoint.write_hugging_face(checkpoint.path(), 1)?;
    write(checkpoint.path(), None, recipe, target, output)
}
