//! From a checkpoint to a model that runs, and running it.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tc_ir::{Bounds, Graph};
use tc_tests::golden::{Golden, Sequence};
use tcc_core::checkpoint::{Checkpoint, OpenOptions};
use tcc_core::emit::{Artifact, Constants, pte};
use tcc_core::lower::{ModelShape, lower};
use tcc_core::program::CacheShape;
use tcc_core::recipe::{Activations, Assignment, Recipe, assign};
use tcc_core::{checkpoint, models, passes};
use tcrt::{BatchToken, Engine, EngineOptions, Model, SeqId};

pub const BOUNDS: Bounds = Bounds { tokens: 512, rows: 512 };

pub fn open(golden: &Golden, shards: usize) -> Result<Checkpoint, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    golden.checkpoint.write_hugging_face(dir.path(), shards)?;
    // The mapped files outlive their names.
    Ok(checkpoint::open(dir.path(), &OpenOptions::default())?)
}

/// The graph as the frontend builds it.
pub fn plain_graph(checkpoint: &Checkpoint, weights: &Assignment) -> Result<Graph, Box<dyn Error>> {
    Ok(models::build(&checkpoint.config, weights, BOUNDS)?)
}

pub fn export(checkpoint: &Checkpoint, recipe: &str, path: &Path) -> Result<Arc<Model>, Box<dyn Error>> {
    let (config, recipe) = (&checkpoint.config, Recipe::from_json(recipe)?);
    let weights = assign(&recipe, config, &checkpoint.tensors);
    let options = passes::Options { quantize_activations: recipe.activations == Activations::Int8 };
    let graph = passes::run(plain_graph(checkpoint, &weights)?, &options, &mut |_, _| {})?;
    let cache =
        CacheShape { layers: config.layers as u32, kv_heads: config.kv_heads as u32, head_dim: config.head_dim as u32 };
    let shape = ModelShape { vocab: config.vocab as u32, max_positions: config.max_positions as u32, cache };
    let artifact = Artifact {
        program: &lower(&graph, shape)?,
        constants: &Constants::new(config, &checkpoint.tensors),
        metadata: Vec::new(),
        stop_tokens: config.stop_tokens.clone(),
        tokenizer: Vec::new(),
        chat: Vec::new(),
    };
    pte::write(path, &artifact, &|_, _| ControlFlow::Continue(()))?;
    Ok(Model::load(path)?)
}

/// How the tokens of several sequences are cut into calls.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Each sequence in one call of its own.
    Whole,
    /// One token a call.
    Single,
    /// Calls of all unfinished sequences together, each with a few tokens, in a number that changes from call to call.
    Ragged,
}

impl Cut {
    /// For each call, the ranges of the sequences' tokens that it has.
    fn calls(self, lengths: &[usize]) -> Vec<Vec<(usize, std::ops::Range<usize>)>> {
        let alone = |s: usize, step: usize| (0..lengths[s]).step_by(step).map(move |i| vec![(s, i..i + step)]);
        match self {
            Cut::Whole => (0..lengths.len()).flat_map(|s| alone(s, lengths[s])).collect(),
            Cut::Single => (0..lengths.len()).flat_map(|s| alone(s, 1)).collect(),
            Cut::Ragged => ragged_calls(lengths),
        }
    }
}

fn ragged_calls(lengths: &[usize]) -> Vec<Vec<(usize, std::ops::Range<usize>)>> {
    let (mut done, mut calls) = (vec![0; lengths.len()], Vec::new());
    while done.iter().zip(lengths).any(|(done, length)| done < length) {
        let mut call = Vec::new();
        for s in 0..lengths.len() {
            let step = [1, 4, 0, 7, 1, 2][(calls.len() * 5 + s * 3) % 6];
            let end = (done[s] + step).min(lengths[s]);
            if end > done[s] {
                call.push((s, done[s]..end));
            }
            done[s] = end;
        }
        calls.push(call);
    }
    calls.retain(|call| !call.is_empty());
    calls
}

/// The logits after every token of every sequence.
pub fn run(
    model: &Arc<Model>,
    options: &EngineOptions,
    sequences: &[Sequence],
    cut: Cut,
) -> tcrt::Result<Vec<Vec<Vec<f32>>>> {
    let most = sequences.iter().map(|s| s.tokens.len()).sum();
    let options = EngineOptions { chunk: most, max_rows: most, max_sequences: sequences.len(), ..options.clone() };
    let mut engine = Engine::new(model.clone(), &options)?;
    let ids: Vec<SeqId> = sequences.iter().map(|_| engine.add_sequence()).collect::<tcrt::Result<_>>()?;
    let lengths: Vec<usize> = sequences.iter().map(|s| s.tokens.len()).collect();
    let mut out = vec![Vec::new(); sequences.len()];
    for call in cut.calls(&lengths) {
        let tokens = call.iter().flat_map(|(s, range)| {
            let token = |token: &u32| BatchToken { sequence: ids[*s], token: *token, want_logits: true };
            sequences[*s].tokens[range.clone()].iter().map(token)
        });
        let tokens: Vec<BatchToken> = tokens.collect();
        let logits = engine.forward(&tokens)?;
        let owners = call.iter().flat_map(|(s, range)| range.clone().map(move |_| *s));
        for (row, s) in owners.enumerate() {
            out[s].push(logits.row(row).to_vec());
        }
    }
    Ok(out)
}

/// How logits differ from a golden's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Difference {
    /// The largest difference of any logit; infinite if one is NaN.
    pub worst: f32,
    /// The root of the mean square of the differences over that of the logits.
    pub relative: f32,
}

pub fn difference(sequences: &[Sequence], logits: &[Vec<Vec<f32>>]) -> Difference {
    let rows = sequences.iter().zip(logits).flat_map(|(sequence, found)| {
        let found = sequence.rows.iter().map(|row| &found[*row]);
        sequence.logits.iter().zip(found)
    });
    let (mut worst, mut noise, mut signal) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (expected, found) in rows {
        assert_eq!(expected.len(), found.len());
        for (a, b) in expected.iter().zip(found) {
            let d = (a - b).abs();
            worst = worst.max(if d.is_nan() { f32::INFINITY } else { d });
            noise += d * d;
            signal += a * a;
        }
    }
    Difference { worst, relative: (noise / signal).sqrt() }
}
