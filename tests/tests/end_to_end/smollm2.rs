//! SmolLM2-135M-Instruct end to end: the greedy tokens of `transformers` in f32 on the same dequantized weights.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tcc_core::checkpoint::{self, OpenOptions};
use tcrt::{BatchToken, Engine, EngineOptions, KvType, Model, SeqId};

use crate::artifact::export;

#[derive(Deserialize)]
struct Prompt {
    ids: Vec<u32>,
    generated: Vec<u32>,
    /// The logits after the prompt that are largest, by token.
    first_logits: BTreeMap<u32, f32>,
}

/// The model inside the Python package that `tests/fetch-models.sh` gets.
fn gguf() -> Option<PathBuf> {
    let Some(dir) = std::env::var_os("TCC_TEST_MODELS") else {
        println!("skipped: TCC_TEST_MODELS is not set (see tests/fetch-models.sh)");
        return None;
    };
    Some(PathBuf::from(dir).join("SmolLM2-135M-Instruct.Q4_1.gguf"))
}

fn prompts() -> Vec<Prompt> {
    let path = tc_tests::golden::directory().join("smollm2_greedy.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as u32
}

/// Generates for all prompts at once, each call with one token of each, and compares.
fn check(model: &Arc<Model>, prompts: &[Prompt], kv_dtype: KvType, tolerance: f32) {
    let options = EngineOptions {
        chunk: 256,
        max_rows: prompts.len(),
        kv_dtype,
        context: 256,
        max_sequences: prompts.len(),
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(model.clone(), &options).unwrap();
    let ids: Vec<SeqId> = prompts.iter().map(|_| engine.add_sequence().unwrap()).collect();
    let mut given: Vec<Vec<u32>> = prompts.iter().map(|p| p.ids.clone()).collect();
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
    for step in 0..prompts[0].generated.len() {
        let batch = ids.iter().zip(&given).flat_map(|(&sequence, tokens)| {
            let last = tokens.len() - 1;
            let token = move |(i, &token): (usize, &u32)| BatchToken { sequence, token, want_logits: i == last };
            tokens.iter().enumerate().map(token)
        });
        let logits = engine.forward(&batch.collect::<Vec<_>>()).unwrap();
        for (i, prompt) in prompts.iter().enumerate() {
            let row = logits.row(i);
            for (token, expected) in prompt.first_logits.iter().filter(|_| step == 0) {
                let difference = (row[*token as usize] - expected).abs();
                assert!(difference <= tolerance, "prompt {i}, token {token}: the logit differs by {difference}");
            }
            given[i] = vec![argmax(row)];
            found[i].extend(&given[i]);
        }
    }
    for (i, prompt) in prompts.iter().enumerate() {
        assert_eq!(found[i], prompt.generated, "prompt {i}");
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    let Some(path) = gguf() else { return };
    let checkpoint = checkpoint::open(&path, &OpenOptions::default()).unwrap();
    let (prompts, scratch) = (prompts(), tempfile::tempdir().unwrap());
    // The same weights in two formats: all dequantized to f32, then the checkpoint's own 4-bit grid as it is.
    for (recipe, kv_dtype, tolerance) in [
        (r#"{"precision": {"dtype": "fp32"}}"#, KvType::F32, 1e-3),
        (r#"{"activations": {"dtype": "f32"}}"#, KvType::F16, 5e-2),
    ] {
        let model = export(&checkpoint, recipe, &scratch.path().join("model.pte")).unwrap();
        check(&model, &prompts, kv_dtype, tolerance);
    }
}
