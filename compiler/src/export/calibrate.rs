//! What of a recipe is done before anything is emitted: the methods that look at more than one row, or at a text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tcrt::tokenizer::Tokenizer;

use super::ExportError;
use crate::checkpoint::Checkpoint;
use crate::emit::Progress;
use crate::export::CompileError;
use crate::quantize::calibration::{DEFAULT_TEXT, tokens};
use crate::quantize::{Job, QuantizeError, Quantized, choose, needs_text};
use crate::recipe::{Assignment, Method, Recipe, assign};

/// The recipe with what `auto` chose, and the checkpoint's tensors, those on their grids that need more than rounding, with the format of
/// each matrix. `text` is read in place of the default; where one is given, it also says which columns matter to rounding to nearest.
pub fn calibrate<'a>(
    checkpoint: &Checkpoint,
    recipe: &'a Recipe,
    text: Option<&str>,
    tokenizer: &[u8],
    progress: Progress,
) -> Result<(Cow<'a, Recipe>, Quantized, Assignment), ExportError> {
    let (config, tensors) = (&checkpoint.config, &checkpoint.tensors);
    let mut recipe = Cow::Borrowed(recipe);
    let mut weights = assign(&recipe, config, tensors).map_err(CompileError::from)?;
    let reads = text.is_some() || recipe.auto.is_some() || needs_text(&weights);
    if !reads && weights.methods().all(|method| method == Method::Nearest) {
        let as_they_are = Quantized { tensors: tensors.clone(), floats: BTreeMap::new() };
        return Ok((recipe, as_they_are, weights));
    }
    let windows = match (reads, tokenizer) {
        (false, _) => None,
        (true, []) => return Err(QuantizeError::NoTokenizer.into()),
        (true, bytes) => {
            let tokenizer = Tokenizer::from_bytes(bytes).map_err(ExportError::TokenizerBytes)?;
            Some(tokens(config, &tokenizer, text.unwrap_or(DEFAULT_TEXT))?)
        }
    };
    // Layers are no bytes; what the bar shows is their part of the checkpoint.
    let bytes: u64 = tensors.values().map(|tensor| tensor.stored_bytes() as u64).sum();
    let progress = |done: u64, all: u64| -> ControlFlow<()> { progress(bytes / all * done, bytes) };
    let activations = recipe.activations;
    let job = Job { config, tensors, activations, windows: windows.as_deref(), progress: &progress };
    if let (Some(bits), Some(windows)) = (recipe.auto, &windows) {
        let mut rules = choose(&job, windows, bits)?;
        // What the recipe itself says comes last, and counts.
        let recipe = recipe.to_mut();
        rules.append(&mut recipe.overrides);
        recipe.overrides = rules;
        weights = assign(recipe, config, tensors).map_err(CompileError::from)?;
    }
    let quantized = job.run(&weights)?;
    Ok((recipe, quantized, weights))
}
