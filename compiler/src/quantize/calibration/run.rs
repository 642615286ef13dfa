//! The program of half a layer, made and run.

use std::collections::BTreeMap;

use tc_ir::{Bounds, Graph};
use tcrt::{BatchToken, Engine, EngineOptions, KvType, Model};

use super::Hidden;
use crate::checkpoint::{Tensor, floats_tensor};
use crate::config::ModelConfig;
use crate::emit::{Artifact, Constant, Constants, pte};
use crate::export::{CompileError, shape};
use crate::lower::{ModelShape, lower};
use crate::models::{Gives, HIDDEN, Half, build_half, build_head};
use crate::passes;
use crate::program::CacheShape;
use crate::quantize::QuantizeError;
use crate::recipe::{Activations, Assignment};

/// Rows of a program's result, all that one call gives.
type See<'a> = &'a mut dyn FnMut(&[&[f32]]);

#[derive(Clone, Copy)]
pub struct HalfRun<'a> {
    pub config: &'a ModelConfig,
    pub tensors: &'a BTreeMap<String, Tensor>,
    /// Formats of the matrices; without, they are f32.
    pub weights: Option<&'a Assignment>,
    pub activations: Activations,
}

impl HalfRun<'_> {
    pub fn run(&self, place: (usize, Half), gives: Gives, hidden: &Hidden, see: See) -> Result<(), QuantizeError> {
        let (config, half) = (self.config, place.1);
        let width = gives.width(half, config);
        let constants = Constants::new(config, self.tensors);
        let options = passes::Options { activations: self.activations };
        let floats = Assignment::default();
        let weights = self.weights.unwrap_or(&floats);
        for piece in half_pieces(config, half, hidden) {
            let tokens = piece.len() / hidden.dim;
            let graph = build_half(config, weights, bounds(hidden), place, gives, tokens);
            let graph = graph.map_err(CompileError::Build)?;
            run(config, constants.clone(), graph, options, Piece { rows: piece, hidden, width }, see)?;
        }
        Ok(())
    }

    /// Parts of `hidden` that one program takes.
    pub fn pieces(&self, half: Half, hidden: &Hidden) -> Vec<Hidden> {
        half_pieces(self.config, half, hidden).map(|rows| Hidden { rows: rows.to_vec(), ..*hidden }).collect()
    }

    /// All that `see` would get, one row after the other.
    pub fn rows(&self, place: (usize, Half), gives: Gives, hidden: &Hidden) -> Result<Vec<f32>, QuantizeError> {
        let width = gives.width(place.1, self.config);
        let mut rows = Vec::with_capacity(hidden.rows.len() / hidden.dim * width);
        self.run(place, gives, hidden, &mut |seen| seen.iter().for_each(|row| rows.extend_from_slice(row)))?;
        Ok(rows)
    }

    /// The rows that the half makes of `hidden`.
    pub fn output(&self, place: (usize, Half), hidden: &Hidden) -> Result<Hidden, QuantizeError> {
        let mut rows = Vec::with_capacity(hidden.rows.len());
        self.run(place, Gives::All, hidden, &mut |seen| {
            seen.iter().for_each(|row| rows.extend_from_slice(&row[row.len() - hidden.dim..]));
        })?;
        Ok(Hidden { rows, ..*hidden })
    }
}

/// The inputs of the head.
pub fn head_inputs(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    hidden: &Hidden,
    see: See,
) -> Result<(), QuantizeError> {
    head(config, tensors, hidden, false, see)
}

/// The predictions.
pub fn logits(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    hidden: &Hidden,
    see: See,
) -> Result<(), QuantizeError> {
    head(config, tensors, hidden, true, see)
}

fn head(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    hidden: &Hidden,
    logits: bool,
    see: See,
) -> Result<(), QuantizeError> {
    let width = if logits { config.vocab } else { config.dim };
    let constants = Constants::new(config, tensors);
    let options = passes::Options { activations: Activations::F32 };
    for piece in pieces(hidden, width) {
        let tokens = piece.len() / hidden.dim;
        let graph = build_head(config, bounds(hidden), tokens, logits);
        let graph = graph.map_err(CompileError::Build)?;
        run(config, constants.clone(), graph, options, Piece { rows: piece, hidden, width }, see)?;
    }
    Ok(())
}

/// Tokens of one program, as far as whole windows go.
const PIECE: usize = 8192;

/// Windows for one program. Its table is its vocabulary, for which a row of its result must have room.
fn pieces(hidden: &Hidden, width: usize) -> impl Iterator<Item = &[f32]> {
    let windows = (width.min(PIECE) / hidden.window).max(1);
    hidden.rows.chunks(windows * hidden.window * hidden.dim)
}

/// Of half a layer. Rows without room for so many tokens are repeated, and copied several times on their way; but each program must be made.
fn half_pieces<'a>(config: &ModelConfig, half: Half, hidden: &'a Hidden) -> impl Iterator<Item = &'a [f32]> + use<'a> {
    const LEAST: usize = 2048;
    pieces(hidden, Gives::Inputs.width(half, config).max(LEAST))
}

fn bounds(hidden: &Hidden) -> Bounds {
    Bounds { tokens: hidden.window as u32, rows: hidden.window as u32 }
}

struct Piece<'a> {
    rows: &'a [f32],
    hidden: &'a Hidden,
    width: usize,
}

fn run(
    config: &ModelConfig,
    mut constants: Constants,
    graph: Graph,
    options: passes::Options,
    piece: Piece,
    see: See,
) -> Result<(), QuantizeError> {
    let Piece { rows, hidden, width } = piece;
    let tokens = rows.len() / hidden.dim;
    let graph = passes::run(graph, &options, &mut |_, _| {}).map_err(CompileError::Pass)?;
    let whole = shape(config);
    let shape = ModelShape { vocab: tokens as u32, cache: CacheShape { layers: 1, ..whole.cache }, ..whole };
    let program = lower(&graph, shape).map_err(CompileError::Lower)?;
    let (table, _file) = floats_tensor(HIDDEN, &[tokens, hidden.dim], rows)?;
    constants.insert(HIDDEN, Constant::Tensor(table));
    let artifact = Artifact {
        program: &program,
        constants: &constants,
        metadata: Vec::new(),
        stop_tokens: Vec::new(),
        tokenizer: Vec::new(),
        chat: Vec::new(),
    };
    let file = pte::write_temporary(&artifact)?;
    let model = Model::load(file.path())?;
    let options = EngineOptions {
        chunk: hidden.window,
        max_rows: hidden.window,
        context: hidden.window,
        kv_dtype: KvType::F32,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(model, &options)?;
    let sequence = engine.add_sequence()?;
    let ids: Vec<u32> = (0..tokens as u32).collect();
    for window in ids.chunks(hidden.window) {
        engine.truncate(sequence, 0)?;
        let batch: Vec<_> = window.iter().map(|&token| BatchToken { sequence, token, want_logits: true }).collect();
        let result = engine.forward(&batch)?;
        let rows: Vec<&[f32]> = (0..result.rows()).map(|row| &result.whole_row(row)[..width]).collect();
        see(&rows);
    }
    Ok(())
}
