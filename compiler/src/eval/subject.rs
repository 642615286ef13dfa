//! What is evaluated: an artifact as it is, or a checkpoint that is exported for the purpose.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tcrt::Model;
use tempfile::TempDir;

use super::EvalError;
use crate::emit::Progress;
use crate::export::{ExportOptions, export};
use crate::inspect::is_artifact;
use crate::recipe::Recipe;

/// A loaded model; the file made for it goes with it.
pub struct Subject {
    pub model: Arc<Model>,
    _exported: Option<TempDir>,
}

impl Subject {
    /// An artifact's weights are what they are: a recipe is for checkpoints only.
    pub fn open(
        path: &Path,
        recipe: Option<Recipe>,
        calibration: Option<String>,
        params_path: Option<PathBuf>,
        progress: Progress,
    ) -> Result<Subject, EvalError> {
        let failed = |why: String| EvalError::File { path: path.to_path_buf(), why };
        if is_artifact(path) {
            return match recipe {
                None => Ok(Subject { model: Model::load(path)?, _exported: None }),
                Some(_) => Err(failed("is an artifact; --quantize and --dtype are for checkpoints".to_string())),
            };
        }
        let directory = tempfile::tempdir().map_err(|error| failed(format!("cannot be exported: {error}")))?;
        let file = directory.path().join("model.pte");
        let options = ExportOptions {
            recipe: recipe.unwrap_or_default(),
            calibration,
            params_path,
            progress,
            ..ExportOptions::default()
        };
        export(path, &file, options)?;
        Ok(Subject { model: Model::load(&file)?, _exported: Some(directory) })
    }

    /// Bytes of weights, and bits for each weight, where the artifact says how many there are.
    pub fn size(&self) -> (u64, Option<f64>) {
        let bytes = self.model.info().weight_bytes;
        let bits = self.model.program().map(|program| {
            let count: u64 = program.weights.iter().map(|weight| u64::from(weight.rows) * u64::from(weight.cols)).sum();
            8.0 * bytes as f64 / count as f64
        });
        (bytes, bits)
    }
}

/// A text to predict. The line break at its end is not part of it, as llama.cpp has it.
pub fn read_text(path: &Path) -> Result<String, EvalError> {
    let failed = |why: String| EvalError::File { path: path.to_path_buf(), why };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut text = String::from_utf8(bytes)
        .map_err(|error| failed(format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
