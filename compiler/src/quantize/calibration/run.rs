//! One layer's program, made and run.

use std::collections::BTreeMap;

use tc_ir::{Bounds, Graph};
use tcrt::{BatchToken, Engine, EngineOptions, KvType, Model};

use super::Hidden;
use crate::checkpoint::{Tensor, floats_tensor};
use crate::config::ModelConfig;
use crate::emit::{Artifact, Constant, Constants, pte};
use crate::export::{CompileError, shape};
use crate::lower::{ModelShape, lower};
use crate::models::{HIDDEN, build_head_norm, build_layer};
use crate::passes;
use crate::program::CacheShape;
use crate::quantize::QuantizeError;
use crate::recipe::Assignment;

/// Rows of a program's result, all that one call gives.
type See<'a> = &'a mut dyn FnMut(&[&[f32]]);

pub struct LayerRun<'a> {
    pub config: &'a ModelConfig,
    pub tensors: &'a BTreeMap<String, Tensor>,
    /// Formats of the layer's matrices; those that it does not have are f32.
    pub weights: &'a Assignment,
    pub quantize_activations: bool,
}

impl LayerRun<'_> {
    /// The columns of what `see` gets: see [`build_layer`].
    pub fn run(&self, layer: usize, hidden: &Hidden, see: See) -> Result<(), QuantizeError> {
        let config = self.config;
        let width = 2 * config.dim + config.q_width() + config.ffn + config.dim;
        let build = |bounds, tokens| build_layer(config, self.weights, bounds, layer, tokens);
        let constants = Constants::new(config, self.tensors);
        let options = passes::Options { quantize_activations: self.quantize_activations };
        for piece in pieces(hidden, width) {
            let graph = build(bounds(hidden), piece.len() / hidden.dim).map_err(CompileError::Build)?;
            run(config, constants.clone(), graph, options, Piece { rows: piece, hidden, width }, see)?;
        }
        Ok(())
    }
}

/// The inputs of the head.
pub fn head_inputs(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    hidden: &Hidden,
    see: See,
) -> Result<(), QuantizeError> {
    let constants = Constants::new(config, tensors);
    let options = passes::Options { quantize_activations: false };
    for piece in pieces(hidden, config.dim) {
        let tokens = piece.len() / hidden.dim;
        let graph = build_head_norm(config, bounds(hidden), tokens).map_err(CompileError::Build)?;
        run(config, constants.clone(), graph, options, Piece { rows: piece, hidden, width: config.dim }, see)?;
    }
    Ok(())
}

/// Windows for one program. Its table is its vocabulary, for which a row of its result must have room.
fn pieces(hidden: &Hidden, width: usize) -> impl Iterator<Item = &[f32]> {
    const MOST: usize = 8192;
    let windows = (width.min(MOST) / hidden.window).max(1);
    hidden.rows.chunks(windows * hidden.window * hidden.dim)
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
