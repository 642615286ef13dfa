//! From a checkpoint to a model that runs.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tc_ir::{Bounds, Graph};
use tc_tests::golden::Golden;
use tcc_core::checkpoint::{Checkpoint, OpenOptions};
use tcc_core::emit::{Artifact, Constants, pte};
use tcc_core::lower::{ModelShape, lower};
use tcc_core::program::CacheShape;
use tcc_core::recipe::{Activations, Assignment, Recipe, assign};
use tcc_core::{checkpoint, models, passes};
use tcrt::Model;

const BOUNDS: Bounds = Bounds { tokens: 512, rows: 512 };

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
