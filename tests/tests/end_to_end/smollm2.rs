//! SmolLM2-135M-Instruct, from the GGUF to text: what `transformers` computes in f32 on the same dequantized weights, token for token.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tcrt::chat::{Message, Role};
use tcrt::sampling::SamplerOptions;
use tcrt::{BatchToken, Engine, EngineOptions, Event, Finish, GenerateOptions, KvType, Model, SeqId, Session, prompt};

use crate::artifact;

/// What `tests/goldens/make_smollm2_greedy.py` wrote.
#[derive(Deserialize)]
struct Prompt {
    /// Of a chat; otherwise `text` is all there is.
    #[serde(default)]
    messages: Vec<ChatMessage>,
    text: String,
    ids: Vec<u32>,
    generated: Vec<u32>,
    decoded: String,
    /// The largest logits after the prompt, by token.
    first_logits: BTreeMap<u32, f32>,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: String,
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

fn engine_options(kv_dtype: KvType, sequences: usize) -> EngineOptions {
    EngineOptions {
        chunk: 256,
        max_rows: sequences,
        kv_dtype,
        context: 256,
        max_sequences: sequences,
        ..EngineOptions::default()
    }
}

/// Generates for all prompts at once, each call with one token of each, and compares.
fn check_tokens(model: &Arc<Model>, prompts: &[Prompt], kv_dtype: KvType, tolerance: f32) {
    let mut engine = Engine::new(model.clone(), &engine_options(kv_dtype, prompts.len())).unwrap();
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

/// The tokenizer and the chat format inside the artifact give the prompt's tokens.
fn check_prompt(model: &Model, expected: &Prompt) {
    let tokenizer = model.tokenizer().unwrap().unwrap();
    let found = if expected.messages.is_empty() {
        prompt::plain(&tokenizer, &expected.text)
    } else {
        let role = |name: &str| match name {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        let messages = expected.messages.iter().map(|m| Message { role: role(&m.role), content: &m.content });
        let messages: Vec<_> = messages.collect();
        prompt::conversation(&tokenizer, &model.chat_format().unwrap().unwrap(), &messages).unwrap()
    };
    assert_eq!(found, expected.ids, "{:?}", expected.text);
    assert_eq!(tokenizer.decode_with(&expected.generated, false), expected.decoded.as_bytes());
}

/// A session streams the reply's text up to the token that ends it.
fn check_reply(model: &Arc<Model>, expected: &Prompt) {
    let tokenizer = model.tokenizer().unwrap().unwrap();
    let format = model.chat_format().unwrap().unwrap();
    let stop_tokens = prompt::stop_tokens(model.stop_tokens(), &tokenizer, Some(&format));
    let end = expected.generated.iter().position(|token| stop_tokens.contains(token));
    let options = GenerateOptions {
        max_new: expected.generated.len(),
        sampling: SamplerOptions::greedy(),
        stop_tokens,
        ..GenerateOptions::default()
    };
    let mut session = Session::new(model.clone(), &engine_options(KvType::F16, 1)).unwrap();
    let mut text = String::new();
    let generation = session.generate(&expected.ids, Some(&tokenizer), &options, |event| {
        if let Event::Text(more) = event {
            text.push_str(more);
        }
        ControlFlow::Continue(())
    });
    let generation = generation.unwrap();
    let tokens = &expected.generated[..end.unwrap_or(expected.generated.len())];
    assert_eq!(generation.tokens, tokens);
    assert_eq!(text.as_bytes(), tokenizer.decode_with(tokens, true));
    match end {
        Some(end) => assert_eq!(generation.finish, Finish::StopToken(expected.generated[end])),
        None => assert_eq!(generation.finish, Finish::Length),
    }
}

#[test]
fn greedy_text_is_that_of_transformers() {
    let Some(path) = gguf() else { return };
    let prompts = prompts();
    // The same weights in two formats: all dequantized to f32, then the checkpoint's own 4-bit grid as it is.
    let f32 = artifact::model(&path, None, r#"{"precision": {"dtype": "fp32"}}"#).unwrap();
    check_tokens(&f32, &prompts, KvType::F32, 1e-3);
    drop(f32);
    let grid = artifact::model(&path, None, r#"{"activations": {"dtype": "f32"}}"#).unwrap();
    check_tokens(&grid, &prompts, KvType::F16, 0.05);
    prompts.iter().for_each(|prompt| check_prompt(&grid, prompt));
    check_reply(&grid, &prompts[0]);
    check_reply(&grid, &prompts[5]);
}
