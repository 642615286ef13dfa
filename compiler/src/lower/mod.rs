//! From a graph to a [`Program`]: select a kernel for each op, plan the memory, place the barriers.

pub(crate) mod barriers;
mod plan;
mod select;
#[cfg(test)]
mod tests;

pub use select::dtype;
use tc_ir::Graph;

use crate::program::{CacheShape, Program};

#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    #[error("{0}: no kernel computes it; a pass must replace it before lowering")]
    NoKernel(String),
    #[error("{0}: {1}")]
    BadType(String, String),
}

/// What a program says of its model besides the computation.
#[derive(Clone, Copy, Debug)]
pub struct ModelShape {
    pub vocab: u32,
    pub max_positions: u32,
    pub cache: CacheShape,
}

pub fn lower(graph: &Graph, shape: ModelShape) -> Result<Program, LowerError> {
    let selected = select::select(graph)?;
    let mut program = Program {
        vocab: shape.vocab,
        max_positions: shape.max_positions,
        cache: shape.cache,
        weights: selected.weights,
        buffers: selected.buffers,
        instructions: selected.instructions,
        token_arena: 0,
        row_arena: 0,
        logits: selected.logits,
    };
    plan::share_residuals(&mut program);
    plan::place_buffers(&mut program);
    barriers::place(&mut program);
    Ok(program)
}
