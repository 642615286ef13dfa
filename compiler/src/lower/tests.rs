use tc_ir::Bounds;

use super::barriers::accesses;
use super::plan::lifetimes;
use super::*;
use crate::config::{ModelConfig, RopeScaling};
use crate::models;
use crate::passes;
use crate::program::Operand;
use crate::recipe::{Activations, Recipe, assign};
use crate::testing::{tiny_config, tiny_tensors};

const BOUNDS: Bounds = Bounds { tokens: 16, rows: 16 };

fn program(config: &ModelConfig, recipe: &str) -> Program {
    let recipe = Recipe::from_json(recipe).unwrap();
    let weights = assign(&recipe, config, &tiny_tensors(config)).unwrap();
    let graph = models::build(config, &weights, BOUNDS).unwrap();
    let options = passes::Options { activations: recipe.activations };
    let graph = passes::run(graph, &options, &mut |_, _| {}).unwrap();
    lower(&graph, shape(config)).unwrap()
}

fn shape(config: &ModelConfig) -> ModelShape {
    let cache =
        CacheShape { layers: config.layers as u32, kv_heads: config.kv_heads as u32, head_dim: config.head_dim as u32 };
    ModelShape { vocab: config.vocab as u32, max_positions: config.max_positions as u32, cache }
}

fn programs() -> Vec<Program> {
    let plain = tiny_config();
    let all = ModelConfig {
        tied: false,
        qkv_bias: true,
        o_bias: true,
        mlp_bias: true,
        qk_norm: true,
        embedding_multiplier: 12.0,
        residual_multiplier: 0.22,
        logits_divisor: 8.0,
        ..tiny_config()
    };
    let mut dynamic = tiny_config();
    dynamic.rope.scaling = RopeScaling::Dynamic { factor: 2.0, original: 64 };
    let recipes = ["{}", r#"{"linear:int4": {}}"#, r#"{"linear:int8": {}, "activations": {"dtype": "f32"}}"#];
    [plain, all, dynamic].iter().flat_map(|config| recipes.map(|recipe| program(config, recipe))).collect()
}

#[test]
fn buffers_that_live_at_once_do_not_overlap() {
    for program in programs() {
        let lives = lifetimes(&program);
        for (i, a) in program.buffers.iter().enumerate() {
            assert!(a.offset.is_multiple_of(64) && a.stride().is_multiple_of(64));
            assert!(a.range().end <= if a.over_rows { program.row_arena } else { program.token_arena });
            for (j, b) in program.buffers.iter().enumerate().skip(i + 1) {
                let (x, y) = (lives[i].clone().unwrap(), lives[j].clone().unwrap());
                let both_live = (0..=program.instructions.len()).any(|at| x.contains(&at) && y.contains(&at));
                let share = a.over_rows == b.over_rows && a.offset < b.range().end && b.offset < a.range().end;
                assert!(!(both_live && share), "{} and {}", a.name, b.name);
            }
        }
    }
}

/// Without any one barrier two conflicting instructions could run at once; with all of them none can.
#[test]
fn barriers_are_enough_and_each_is_needed() {
    for program in programs() {
        assert!(is_race_free(&program));
        for at in 0..program.instructions.len() {
            let mut fewer = program.clone();
            if std::mem::take(&mut fewer.instructions[at].barrier) {
                assert!(!is_race_free(&fewer), "the barrier before {}", program.instructions[at].note);
            }
        }
    }
}

fn is_race_free(program: &Program) -> bool {
    let count = program.instructions.len();
    let apart = |i: usize, j: usize| program.instructions[i + 1..=j].iter().any(|between| between.barrier);
    let conflict = |i: usize, j: usize| {
        let (a, b) = (accesses(program, &program.instructions[i]), accesses(program, &program.instructions[j]));
        a.iter().any(|a| b.iter().any(|b| a.conflicts(b)))
    };
    (0..count).all(|i| (i + 1..count).all(|j| apart(i, j) || !conflict(i, j)))
}

#[test]
fn operands_fit_the_signatures() {
    for program in programs() {
        for instruction in &program.instructions {
            let kernel = instruction.kernel;
            assert_eq!(instruction.operands.len(), kernel.operands.len(), "{}", instruction.note);
            assert_eq!((instruction.ints.len(), instruction.floats.len()), (kernel.ints.len(), kernel.floats.len()));
            for (operand, takes) in instruction.operands.iter().zip(kernel.operands) {
                assert!(takes.optional || *operand != Operand::None, "{}: {}", instruction.note, takes.name);
            }
        }
    }
}

#[test]
fn a_layer_is_seven_instructions_and_residuals_share_the_stream() {
    let program = program(&tiny_config(), r#"{"linear:int4": {}}"#);
    let names: Vec<&str> = program.instructions.iter().map(|instruction| instruction.kernel.name).collect();
    let layer = [
        "rms_norm_q8",
        "linear_q8",
        "rope_kv",
        "attention",
        "quantize_q8",
        "linear_q8",
        "rms_norm_q8",
        "linear_q8",
        "swiglu_q8",
        "linear_q8",
    ];
    assert_eq!(names.iter().filter(|name| **name == "rope_kv").count(), 2);
    assert!(names.windows(layer.len()).any(|window| window == layer), "{names:?}");
    // The stream, one norm, one linear and so on: far fewer buffers' worth of bytes than values.
    let all: u64 = program.buffers.iter().filter(|buffer| !buffer.over_rows).map(|buffer| buffer.stride()).sum();
    assert!(program.token_arena * 2 < all);
    let stream = program.instructions.iter().filter(|instruction| instruction.kernel.name == "linear_q8");
    let in_place =
        stream.filter(|linear| linear.operands[3] != Operand::None && linear.operands[3] == linear.operands[4]);
    assert_eq!(in_place.count(), 4);
}

/// Matrices of different types cannot be one; their results are put side by side.
#[test]
fn mixed_types_of_q_k_and_v_lower() {
    let text = "graph @mixed(n: tokens <= 16, m: rows <= 16) {
        %0: f32[n, 32] = embed @embed: f32[50, 32]
        %1: f32[n, 8] = rope_table @inv_freq: f32[4] {theta = 10000.0}
        %2: f32[n, 16] = linear %0, @q: i4g32[16, 32]
        %3: f32[n, 8] = linear %0, @k: i4g32[8, 32]
        %4: f32[n, 8] = linear %0, @v: i8g32[8, 32]
        %5: f32[n, 16] = rope %2, %1
        %6: f32[n, 8] = rope %3, %1
        %7: f32[n, 16] = attention %5, %6, %4 {layer = 0, heads = 2, kv_heads = 1, head_dim = 8, scale = 0.5}
        %8: f32[m, 16] = gather_rows %7
        output %8
    }";
    let options = passes::Options { activations: Activations::Int8 };
    let graph = passes::run(tc_ir::parse(text).unwrap(), &options, &mut |_, _| {}).unwrap();
    let program = lower(&graph, shape(&tiny_config())).unwrap();
    let names: Vec<&str> = program.instructions.iter().map(|instruction| instruction.kernel.name).collect();
    let row = ["quantize_q8", "linear_q8", "linear_q8", "concat_cols", "rope_kv", "attention"];
    assert!(names.windows(row.len()).any(|window| window == row), "{names:?}");
    assert!(is_race_free(&program));
}

#[test]
fn ops_without_a_kernel_are_named() {
    let config = tiny_config();
    let weights = assign(&Recipe::default(), &config, &tiny_tensors(&config)).unwrap();
    let graph = models::build(&config, &weights, BOUNDS).unwrap();
    let message = lower(&graph, shape(&config)).unwrap_err().to_string();
    assert!(message.contains("rope"), "{message}");
}
