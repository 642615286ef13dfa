//! From a config and its tensors to a program: nothing is read but the tensors' formats.

use std::collections::BTreeMap;

use tc_ir::{Bounds, Graph, InvalidGraph};

use crate::checkpoint::Tensor;
use crate::config::ModelConfig;
use crate::lower::{LowerError, ModelShape, lower};
use crate::models;
use crate::passes::{self, PassError};
use crate::program::{CacheShape, Program};
use crate::recipe::{Recipe, RecipeError, assign};

/// What the graph says of the largest call. Programs scale with what a session asks for.
const BOUNDS: Bounds = Bounds { tokens: 512, rows: 512 };

/// The name under which `after_pass` sees the graph that no pass has touched.
pub const FRONTEND: &str = "frontend";

#[derive(Debug)]
pub struct Compiled {
    pub graph: Graph,
    pub program: Program,
}

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("bug in the model builder: {0}")]
    Build(InvalidGraph),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error("lowering: {0}")]
    Lower(#[from] LowerError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

pub fn compile(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    recipe: &Recipe,
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Compiled, CompileError> {
    let weights = assign(recipe, config, tensors)?;
    let graph = models::build(config, &weights, BOUNDS).map_err(CompileError::Build)?;
    after_pass(FRONTEND, &graph);
    let options = passes::Options { activations: recipe.activations };
    let graph = passes::run(graph, &options, after_pass)?;
    let program = lower(&graph, shape(config))?;
    Ok(Compiled { graph, program })
}

pub(crate) fn shape(config: &ModelConfig) -> ModelShape {
    let cache =
        CacheShape { layers: config.layers as u32, kv_heads: config.kv_heads as u32, head_dim: config.head_dim as u32 };
    ModelShape { vocab: config.vocab as u32, max_positions: config.max_positions as u32, cache }
}
