//! What of a recipe is done before anything is emitted: the methods that look at more than one row, or at a text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tcrt::tokenizer::Tokenizer;

use super::ExportError;
use crate::checkpoint::Checkpoint;
use crate::emit::Progress;
use crate::export::CompileError;
use crate::quantize::calibration::{DEFAULT_TEXT, speech, tokens};
use crate::quantize::{Job, QuantizeError, Quantized, choose, needs_text, whole};
use crate::recipe::{Assignment, Method, Recipe, assign};

/// Windows that the model says for formats of few bits, where a recipe says nothing of them: what they cost in time is then well spent.
const SAID: usize = 24;
/// The same for `auto`, which is asked for the best there is: from 24 to 96, the divergence on other texts falls by a sixth.
const SAID_FOR_AUTO: usize = 96;
/// Formats of fewer bits have errors large enough that a text as short as the default does not show where they may go.
const COARSE: f64 = 4.0;

/// What is known before anything is emitted.
pub struct Calibrated<'a> {
    /// With what `auto` chose.
    pub recipe: Cow<'a, Recipe>,
    /// The checkpoint's tensors, those on their grids that need more than rounding.
    pub quantized: Quantized,
    /// The format of each matrix.
    pub weights: Assignment,
    /// Why the model was not tuned, where it should have been.
    pub obstacle: Option<&'static str>,
}

/// `text` is read in place of the default; where one is given, it also says which columns matter to rounding to nearest.
pub fn calibrate<'a>(
    checkpoint: &Checkpoint,
    recipe: &'a Recipe,
    text: Option<&str>,
    tokenizer: &[u8],
    progress: Progress,
) -> Result<Calibrated<'a>, ExportError> {
    let (config, tensors) = (&checkpoint.config, &checkpoint.tensors);
    let mut recipe = Cow::Borrowed(recipe);
    let mut weights = assign(&recipe, config, tensors).map_err(CompileError::from)?;
    let reads = text.is_some() || recipe.auto.is_some() || tunes(&recipe) || needs_text(&weights);
    if !reads && weights.methods().all(|method| method == Method::Nearest) {
        let quantized = Quantized { tensors: tensors.clone(), floats: BTreeMap::new(), exact: None };
        return Ok(Calibrated { recipe, quantized, weights, obstacle: None });
    }
    // Layers are no bytes; what the bar shows is their part of the checkpoint.
    let bytes: u64 = tensors.values().map(|tensor| tensor.stored_bytes() as u64).sum();
    let progress = |done: u64, all: u64| -> ControlFlow<()> { progress(bytes / all * done, bytes) };
    let said = recipe.said.unwrap_or_else(|| if text.is_none() { said_unasked(&recipe, &weights) } else { 0 });
    let windows = reads.then(|| windows(checkpoint, text, said, tokenizer, &progress)).transpose()?;
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
    let mut quantized = job.run(&weights)?;
    let tokens = recipe.tune.unwrap_or(0);
    let mut obstacle = None;
    if let Some(exact) = quantized.exact.take().filter(|_| tokens > 0) {
        obstacle = whole::obstacle(&job);
        if obstacle.is_none() {
            whole::tune(&job, &weights, &exact, tokens, &mut quantized)?;
        }
    }
    Ok(Calibrated { recipe, quantized, weights, obstacle })
}

fn tunes(recipe: &Recipe) -> bool {
    recipe.tune.is_some_and(|tokens| tokens > 0)
}

/// How many windows the model says where it is not told how many.
fn said_unasked(recipe: &Recipe, weights: &Assignment) -> usize {
    let bits = |name: &str| weights.get(name).and_then(|weight| weight.kind.format()).map_or(16, |format| format.bits);
    let is_coarse = |name: &str| weights.method(name) == Some(Method::Gptq) && f64::from(bits(name) as u32) < COARSE;
    match recipe.auto {
        Some(bits) if bits < COARSE => SAID_FOR_AUTO,
        _ if tunes(recipe) || weights.names().any(is_coarse) => SAID,
        _ => 0,
    }
}

/// The text's, and `said` more that the model says.
fn windows(
    checkpoint: &Checkpoint,
    text: Option<&str>,
    said: usize,
    tokenizer: &[u8],
    progress: Progress,
) -> Result<Vec<Vec<u32>>, ExportError> {
    if tokenizer.is_empty() {
        return Err(QuantizeError::NoTokenizer.into());
    }
    let tokenizer = Tokenizer::from_bytes(tokenizer).map_err(ExportError::TokenizerBytes)?;
    let (config, tensors) = (&checkpoint.config, &checkpoint.tensors);
    let mut windows = tokens(config, &tokenizer, text.unwrap_or(DEFAULT_TEXT))?;
    if said > 0 {
        let mut more = speech::windows(config, tensors, &windows, said, progress)?;
        windows.append(&mut more);
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{tiny_config, tiny_tensors};

    #[test]
    fn fewer_than_four_bits_are_coarse() {
        let config = tiny_config();
        let tensors = tiny_tensors(&config);
        for (json, expected) in [
            (r#"{"auto": {"bits_per_weight": 3.5}}"#, SAID_FOR_AUTO),
            (r#"{"auto": {"bits_per_weight": 4}}"#, 0),
            (r#"{"auto": {"bits_per_weight": 4}, "tune": {"tokens": 1000}}"#, SAID),
            (r#"{"linear:kind": {"kind": "i4"}, "tune": {"tokens": 0}}"#, 0),
            (r#"{"linear:kind": {"kind": "n3", "method": "gptq"}}"#, SAID),
            (r#"{"linear:kind": {"kind": "n3", "method": "awq"}}"#, 0),
            (r#"{"linear:kind": {"kind": "i4", "method": "gptq"}}"#, 0),
            (r#"{"overrides": [{"layers": "*.down", "linear:kind": {"kind": "k2", "method": "gptq"}}]}"#, SAID),
            ("{}", 0),
        ] {
            let recipe = Recipe::from_json(json).unwrap();
            let weights = assign(&recipe, &config, &tensors).unwrap();
            assert_eq!(said_unasked(&recipe, &weights), expected, "{json}");
        }
    }
}
