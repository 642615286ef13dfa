use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tc_ir::Bounds;
use tc_kernels::layout::Kind;
use tc_kernels::pack::unpack_row;
use tcrt::program::WeightKind;

use super::super::constants::Numbers;
use super::super::{Artifact, Constant, Constants, EmitError};
use super::*;
use crate::lower::{ModelShape, lower};
use crate::models;
use crate::passes;
use crate::program::{CacheShape, Program};
use crate::recipe::{Activations, Recipe, assign};
use crate::testing::{tensor, tiny_config, tiny_tensors};

fn tiny(recipe: &str) -> (Program, Constants) {
    let config = tiny_config();
    let tensors = tiny_tensors(&config);
    let weights = assign(&Recipe::from_json(recipe).unwrap(), &config, &tensors).unwrap();
    let graph = models::build(&config, &weights, Bounds { tokens: 16, rows: 16 }).unwrap();
    let graph = passes::run(graph, &passes::Options { activations: Activations::Int8 }, &mut |_, _| {}).unwrap();
    let cache = CacheShape { layers: 2, kv_heads: 2, head_dim: 10 };
    let program = lower(&graph, ModelShape { vocab: 50, max_positions: 128, cache }).unwrap();
    (program, Constants::new(&config, &tensors))
}

fn artifact<'a>(program: &'a Program, constants: &'a Constants) -> Artifact<'a> {
    Artifact {
        program,
        constants,
        metadata: vec![("name".to_string(), "tiny".to_string())],
        stop_tokens: vec![2, 7],
        tokenizer: b"a tokenizer".to_vec(),
        chat: Vec::new(),
    }
}

fn go_on(_done: u64, _total: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_is_written_is_what_the_runtime_reads() {
    for recipe in
        ["{}", r#"{"linear:int4": {"groupsize": 64}}"#, r#"{"linear:int8": {}, "embedding": {"bitwidth": 4}}"#]
    {
        let (program, constants) = tiny(recipe);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tiny.pte");
        let written = write(&path, &artifact(&program, &constants), &go_on).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, written.file_bytes);
        let read = tcrt::program::read(&bytes).unwrap().program().clone();
        assert_eq!(read, layout::layout(&artifact(&program, &constants)).unwrap().program);
        assert_eq!(read.stop_tokens, [2, 7]);
        let tokenizer = read.tokenizer_segment;
        assert_eq!(&bytes[tokenizer.offset as usize..][..tokenizer.size as usize], b"a tokenizer");
        check_weights(&read, &bytes, &program, &constants);
        assert_eq!(files_in(directory.path()), [path]);
    }
}

/// Every row of every weight is the constant's, to within its format's rounding.
fn check_weights(read: &tcrt::program::Program, bytes: &[u8], program: &Program, constants: &Constants) {
    for (placed, weight) in read.weights.iter().zip(&program.weights) {
        let start = (read.weights_segment.offset + placed.offset) as usize;
        let data = &bytes[start..start + placed.size as usize];
        let (cols, group) = (placed.cols as usize, placed.group as usize);
        let (WeightKind::Matrix(kind), Numbers::Matrix(tensor)) = (placed.kind, constants.numbers(weight).unwrap())
        else {
            continue;
        };
        let tolerance = match kind {
            Kind::I4 => 0.126,
            Kind::I8 => 0.005,
            _ => 0.0,
        };
        let (mut expected, mut found) = (vec![0.0; cols], vec![0.0; cols]);
        for row in 0..placed.rows as usize {
            tensor.read_row(row, &mut expected).unwrap();
            unpack_row(kind, group, cols, data, row, &mut found);
            let largest = expected.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
            for (expected, found) in expected.iter().zip(&found) {
                assert!(
                    (expected - found).abs() <= tolerance * largest,
                    "{} row {row}: {expected} {found}",
                    placed.name
                );
            }
        }
    }
}

#[test]
fn a_failed_or_cancelled_export_leaves_nothing() {
    let (program, mut constants) = tiny("{}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.pte");
    let cancelled = write(&path, &artifact(&program, &constants), &|_, _| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(EmitError::Cancelled)));
    assert!(files_in(directory.path()).is_empty());

    let mut bad = vec![0.5; 40 * 40];
    bad[41] = f32::INFINITY;
    constants.insert("layers.0.o", Constant::Tensor(tensor("o_proj", &[40, 40], &bad)));
    let message = write(&path, &artifact(&program, &constants), &go_on).unwrap_err().to_string();
    assert!(message.contains("o_proj") && message.contains("row 1"), "{message}");
    assert!(files_in(directory.path()).is_empty());

    constants.insert("layers.0.o", Constant::Tensor(tensor("o_proj", &[40, 39], &bad[..40 * 39])));
    let message = write(&path, &artifact(&program, &constants), &go_on).unwrap_err().to_string();
    assert!(message.contains("layers.0.o") && message.contains("[40, 39]"), "{message}");

    let nowhere = directory.path().join("no such directory").join("tiny.pte");
    let message = write(&nowhere, &artifact(&program, &constants), &go_on).unwrap_err().to_string();
    assert!(message.contains("tiny.pte") && !message.contains('\n'), "{message}");
}

#[test]
fn numbers_that_f16_cannot_hold_are_refused() {
    let (program, mut constants) = tiny(r#"{"precision": {"dtype": "f16"}}"#);
    let directory = tempfile::tempdir().unwrap();
    let mut values = vec![0.5; 40 * 40];
    values[80] = 1e6;
    constants.insert("layers.0.o", Constant::Tensor(tensor("o_proj", &[40, 40], &values)));
    let failed = write(&directory.path().join("tiny.pte"), &artifact(&program, &constants), &go_on);
    assert_eq!(failed.unwrap_err().to_string(), "weight o_proj: row 2 holds 1000000, too large for f16");
}
