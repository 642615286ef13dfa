//! What an export did to a model: to each matrix, and to the predictions on a text. It is kept as a page ([`Page`]) that a person can open, and
//! that gathers the exports written to it, so that recipes can be compared.

mod matrices;
mod page;

pub use matrices::{Matrices, MatrixQuality};
pub use page::{Page, PageError};

use std::path::Path;

use serde::Serialize;

use crate::emit::Progress;
use crate::eval::{self, EvalError, EvalOptions, Subject};
use crate::export;

/// Read where no other text is given. No method reads it to quantize by: how well a model predicts the text that it was fitted to says
/// little.
pub const DEFAULT_TEXT: &str = include_str!("mansfield-park.txt");
pub const DEFAULT_TEXT_NAME: &str = "mansfield-park.txt";

/// Of one export.
#[derive(Debug, Serialize)]
pub struct Quality {
    /// The artifact's file name.
    pub artifact: String,
    pub model: String,
    pub recipe: String,
    pub text: String,
    pub weight_bytes: u64,
    pub bits_per_weight: Option<f64>,
    pub predictions: eval::Report,
    pub matrices: Vec<MatrixQuality>,
}

/// A text, and what to call it.
#[derive(Clone, Copy, Debug)]
pub struct NamedText<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// Measures `artifact` against `base`, which is the checkpoint as it is.
pub fn measure(
    artifact: &Path,
    base: &Subject,
    report: &export::Report,
    text: NamedText,
    options: &EvalOptions,
    progress: Progress,
) -> Result<Quality, EvalError> {
    let subject = Subject::open(artifact, None, None, None, progress)?;
    let tokens = eval::tokenize(&subject.model, text.text)?;
    let predictions = eval::evaluate(&subject.model, Some(&base.model), &tokens, options, progress)?;
    let (weight_bytes, bits_per_weight) = subject.size();
    Ok(Quality {
        artifact: artifact.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        model: report.config.name.clone(),
        recipe: report.recipe.clone(),
        text: text.name.to_string(),
        weight_bytes,
        bits_per_weight,
        predictions,
        matrices: report.matrices.measure().map_err(export::ExportError::from)?,
    })
}
