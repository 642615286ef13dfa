//! From the plain graph that frontends build to one whose ops are kernels.
//!
//! A pass is a function from graph to graph that keeps the meaning (`quantize-activations` to within rounding). It finds
//! nothing to do where its pattern is missing. Each file's header shows IR before and after; `tests/passes/*.ir` holds
//! each pass to exact text, and the reference interpreter holds all of them to the same results.

mod cse;
mod dce;
mod fold_scale;
mod fuse_norm_quant;
mod fuse_residual;
mod fuse_rope_kv;
mod fuse_swiglu;
mod fuse_swiglu_quant;
mod gather_early;
mod merge;
mod merge_gate_up;
mod merge_qkv;
mod quantize_activations;
mod rewrite;

use tc_ir::{Graph, InvalidGraph, verify};

use crate::recipe::Activations;

#[derive(Clone, Copy, Debug)]
pub struct Pass {
    pub name: &'static str,
    pub run: fn(&Graph) -> Graph,
    enabled: fn(&Options) -> bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What quantized weights meet.
    pub activations: Activations,
}

/// All passes in the order they run.
pub const PASSES: &[Pass] = &[
    always("dce", dce::run),
    always("gather-early", gather_early::run),
    always("merge-qkv", merge_qkv::run),
    always("merge-gate-up", merge_gate_up::run),
    always("fold-scale", fold_scale::run),
    always("fuse-residual", fuse_residual::run),
    always("fuse-rope-kv", fuse_rope_kv::run),
    always("fuse-swiglu", fuse_swiglu::run),
    Pass {
        name: "quantize-activations",
        run: quantize_activations::run::<1>,
        enabled: |options| options.activations == Activations::Int8,
    },
    Pass {
        name: "quantize-activations-int16",
        run: quantize_activations::run::<2>,
        enabled: |options| options.activations == Activations::Int16,
    },
    always("cse", cse::run),
    always("fuse-norm-quant", fuse_norm_quant::run),
    always("fuse-swiglu-quant", fuse_swiglu_quant::run),
];

const fn always(name: &'static str, run: fn(&Graph) -> Graph) -> Pass {
    Pass { name, run, enabled: |_| true }
}

/// A bug in this compiler: the named pass (or, if none, the frontend) made an invalid graph.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("bug in the frontend: {0}")]
    Frontend(InvalidGraph),
    #[error("bug in the pass {pass}: {problems}")]
    Pass { pass: &'static str, problems: InvalidGraph },
}

pub fn find(name: &str) -> Option<&'static Pass> {
    PASSES.iter().find(|pass| pass.name == name)
}

/// Runs the passes that `options` enable and verifies after each. `after` sees every graph with the name of the pass it
/// comes from: this is where `--print-ir-after=PASS` looks.
pub fn run(graph: Graph, options: &Options, after: &mut dyn FnMut(&str, &Graph)) -> Result<Graph, PassError> {
    verify(&graph).map_err(PassError::Frontend)?;
    PASSES.iter().filter(|pass| (pass.enabled)(options)).try_fold(graph, |graph, pass| {
        let graph = (pass.run)(&graph);
        verify(&graph).map_err(|problems| PassError::Pass { pass: pass.name, problems })?;
        after(pass.name, &graph);
        Ok(graph)
    })
}
