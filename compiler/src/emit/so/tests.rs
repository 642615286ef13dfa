use std::ops::ControlFlow;
use std::sync::Arc;

use tcrt::{BatchToken, Engine, EngineOptions, Model};

use super::*;
use crate::emit::{Constants, pte};
use crate::export::compile;
use crate::recipe::Recipe;
use crate::testing::{tiny_config, tiny_tensors};

fn host() -> Options {
    Options { target: tc_targets::host().unwrap(), separate_weights: false }
}

fn with_tiny<T>(recipe: &str, use_it: impl FnOnce(&Artifact) -> T) -> T {
    let (config, recipe) = (tiny_config(), Recipe::from_json(recipe).unwrap());
    let tensors = tiny_tensors(&config);
    let compiled = compile(&config, &tensors, &recipe, &mut |_, _| {}).unwrap();
    use_it(&Artifact {
        program: &compiled.program,
        constants: &Constants::new(&config, &tensors),
        metadata: vec![("name".to_string(), "tiny".to_string())],
        stop_tokens: vec![2, 7],
        tokenizer: b"a tokenizer".to_vec(),
        chat: Vec::new(),
    })
}

fn go_on(_done: u64, _total: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Logits after every token, some in one call, some one by one.
fn logits(path: &Path, threads: usize) -> Vec<Vec<f32>> {
    let model = Model::load(path).unwrap();
    let options = EngineOptions { threads, max_rows: 32, ..EngineOptions::default() };
    let mut engine = Engine::new(Arc::clone(&model), &options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    let tokens: Vec<u32> = (0..40).map(|i| (i * 17 + 3) % 50).collect();
    let mut rows = Vec::new();
    for call in [&tokens[..9], &tokens[9..10], &tokens[10..30]].into_iter().chain(tokens[30..].chunks(1)) {
        let batch: Vec<BatchToken> =
            call.iter().map(|token| BatchToken { sequence, token: *token, want_logits: true }).collect();
        let logits = engine.forward(&batch).unwrap();
        rows.extend((0..logits.rows()).map(|row| logits.row(row).to_vec()));
    }
    rows
}

const RECIPES: [&str; 3] =
    ["{}", r#"{"linear:int4": {"groupsize": 64}}"#, r#"{"linear:int8": {}, "embedding": {"bitwidth": 4}}"#];

#[test]
fn both_encodings_compute_the_same() {
    for recipe in RECIPES {
        with_tiny(recipe, |artifact| {
            let directory = tempfile::tempdir().unwrap();
            let (program, native) = (directory.path().join("tiny.pte"), directory.path().join("tiny.so"));
            pte::write(&program, artifact, &go_on).unwrap();
            let written = write(&native, artifact, host(), &go_on).unwrap();
            assert_eq!(written.file_bytes, std::fs::metadata(&native).unwrap().len());
            for threads in [1, 2, 3] {
                assert_eq!(logits(&native, threads), logits(&program, threads), "{recipe}, {threads} threads");
            }
        });
    }
}
