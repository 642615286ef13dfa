//! Which kernels at which shapes: those of a model, or a choice of usual ones.

use tc_kernels::layout::Kind;
use tc_kernels::measure::Shape;
use tcrt::Model;
use tcrt::program::verify::Op;
use tcrt::program::{Program, Weight, WeightKind};

/// Positions that heads look at.
const CONTEXT: usize = 1024;

/// A kernel's name and what it works on.
pub type Job = (String, Shape);

/// Each kernel of a model at each of its shapes once, in the order in which they run; none where the artifact has its program as code.
pub fn of_model(model: &Model) -> Option<Vec<Job>> {
    let (program, ops) = (model.program()?, model.ops());
    let mut jobs: Vec<Job> = Vec::new();
    for (instruction, op) in program.instructions.iter().zip(ops) {
        let name = &program.kernels[usize::from(instruction.kernel)];
        if let Some(shape) = shape(program, op)
            && !jobs.iter().any(|job| job.0 == *name && job.1 == shape)
        {
            jobs.push((name.clone(), shape));
        }
    }
    Some(jobs)
}

/// None for what only copies.
fn shape(program: &Program, op: &Op) -> Option<Shape> {
    match *op {
        Op::Linear { w, .. } => matrix(&program.weights[w]),
        Op::Norm { dim, .. } | Op::Quantize { dim, .. } | Op::Swiglu { dim, .. } | Op::Elementwise { dim, .. } => {
            Some(Shape::Row { dim: dim as usize })
        }
        Op::RopeKv { heads, .. } | Op::Attention { heads, .. } => Some(Shape::Heads {
            heads: heads.heads as usize,
            kv_heads: heads.kv_heads as usize,
            head_dim: heads.head_dim as usize,
            context: CONTEXT.min(program.max_positions as usize),
        }),
        _ => None,
    }
}

fn matrix(w: &Weight) -> Option<Shape> {
    match w.kind {
        WeightKind::Matrix(kind) => {
            Some(Shape::Matrix { kind, group: w.group as usize, rows: w.rows as usize, cols: w.cols as usize })
        }
        WeightKind::Vector => None,
    }
}

/// Shapes of Llama's feed-forward layers at 135M, 1B and 8B, in every way to store them that is common.
pub fn usual() -> Vec<Job> {
    let kinds = [(Kind::I4, 32), (Kind::I4Min, 32), (Kind::I8, 32), (Kind::F16, 0), (Kind::Bf16, 0), (Kind::F32, 0)];
    let mut jobs = Vec::new();
    for (rows, cols) in [(1536, 576), (8192, 2048), (14336, 4096)] {
        for (kind, group) in kinds {
            let shape = Shape::Matrix { kind, group, rows, cols };
            if kind.is_quantized() {
                jobs.push(("linear_q8".into(), shape));
                jobs.push(("linear_q8x2".into(), shape));
            }
            jobs.push(("linear".into(), shape));
        }
    }
    for name in ["rms_norm", "rms_norm_q8", "quantize_q8", "swiglu", "swiglu_q8", "add"] {
        jobs.push((name.into(), Shape::Row { dim: 4096 }));
    }
    for name in ["rope_kv", "attention"] {
        for (heads, kv_heads, head_dim) in [(9, 3, 64), (32, 8, 128)] {
            jobs.push((name.into(), Shape::Heads { heads, kv_heads, head_dim, context: CONTEXT }));
        }
    }
    jobs
}
