//! The text, as tokens and as hidden states.

use tcrt::tokenizer::{Special, Tokenizer};

use crate::checkpoint::{GridRow, Tensor};
use crate::config::ModelConfig;
use crate::quantize::{QuantizeError, RowQuantizer};
use crate::recipe::WeightType;

/// Written for the purpose; see its head.
pub const DEFAULT_TEXT: &str = include_str!("calibration.txt");
/// Tokens that are read together.
const WINDOW: usize = 512;

/// Whole windows of a text, each of the same length.
pub fn tokens(config: &ModelConfig, tokenizer: &Tokenizer, text: &str) -> Result<Vec<Vec<u32>>, QuantizeError> {
    let tokens = tokenizer.encode(text, Special::AsText);
    if let Some(token) = tokens.iter().find(|token| **token as usize >= config.vocab) {
        return Err(QuantizeError::Token { token: *token, vocab: config.vocab });
    }
    // No window is longer than a row of what a layer gives: see `run`.
    let window = WINDOW.min(config.max_positions).min(config.dim);
    let windows: Vec<Vec<u32>> = tokens.chunks_exact(window).map(<[u32]>::to_vec).collect();
    match windows.is_empty() {
        true => Err(QuantizeError::ShortText { tokens: tokens.len(), window }),
        false => Ok(windows),
    }
}

/// What a layer reads: a row for each token.
#[derive(Clone, Debug)]
pub struct Hidden {
    pub rows: Vec<f32>,
    pub dim: usize,
    /// Tokens that see one another.
    pub window: usize,
}

impl Hidden {
    /// `weight` is the table's format: its rows are rounded to it.
    pub fn embed(
        config: &ModelConfig,
        table: &Tensor,
        weight: Option<WeightType>,
        windows: &[Vec<u32>],
    ) -> Result<Hidden, QuantizeError> {
        let mut quantizer = weight.filter(|weight| weight.kind.is_quantized()).map(RowQuantizer::new);
        let mut on_grid = GridRow::default();
        let mut rows = vec![0.0; windows.iter().map(Vec::len).sum::<usize>() * config.dim];
        for (token, row) in windows.iter().flatten().zip(rows.chunks_exact_mut(config.dim)) {
            match &mut quantizer {
                Some(quantizer) => {
                    quantizer.read(table, *token as usize, &mut on_grid)?;
                    on_grid.values(quantizer.grid(), row);
                }
                None => table.read_row(*token as usize, row)?,
            }
            row.iter_mut().for_each(|value| *value *= config.embedding_multiplier);
        }
        Ok(Hidden { rows, dim: config.dim, window: windows.first().map_or(0, Vec::len) })
    }

    /// Those of a window.
    pub fn rows_of(&self, window: usize) -> &[f32] {
        let size = self.window * self.dim;
        &self.rows[window * size..][..size]
    }
}
