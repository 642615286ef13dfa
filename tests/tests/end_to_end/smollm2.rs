//! SmolLM2-135M-Instruct, from the GGUF to text: what `transformers` computes in f32 on the same dequantized weights, token for token.

use std::path::PathBuf;

use tcrt::KvType;

use crate::artifact;
use crate::greedy::{Prompt, check_prompt, check_reply, check_tokens, engine_options};

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

#[test]
fn greedy_text_is_that_of_transformers() {
    let Some(path) = gguf() else { return };
    let prompts = prompts();
    // The same weights in two formats: all dequantized to f32, then the checkpoint's own 4-bit grid as it is.
    let f32 = artifact::model(&path, None, r#"{"precision": {"dtype": "fp32"}}"#).unwrap();
    check_tokens(&f32, &prompts, &engine_options(KvType::F32, prompts.len()), 1e-3);
    drop(f32);
    let grid = artifact::model(&path, None, r#"{"activations": {"dtype": "f32"}}"#).unwrap();
    check_tokens(&grid, &prompts, &engine_options(KvType::F16, prompts.len()), 0.05);
    prompts.iter().for_each(|prompt| check_prompt(&grid, prompt));
    check_reply(&grid, &prompts[0]);
    check_reply(&grid, &prompts[5]);
}
