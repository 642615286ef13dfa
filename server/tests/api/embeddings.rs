//! `/v1/embeddings`.

use std::thread;

use serde_json::{Value, json};
use tc_server::{Options, engine};
use tcrt::{BatchToken, Engine, EngineOptions, prompt};

use crate::support::{Service, engine_options, model, serve, start};

fn vectors(service: &Service, body: Value) -> Vec<Vec<f32>> {
    let answer = service.ask("/v1/embeddings", &body);
    let data = answer["data"].as_array().unwrap();
    assert!(data.iter().enumerate().all(|(i, entry)| entry["index"] == i && entry["object"] == "embedding"));
    data.iter().map(|entry| vector(&entry["embedding"])).collect()
}

fn vector(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

/// Hidden states after each token, from the runtime.
fn states(text: &str) -> Vec<Vec<f32>> {
    let tokens = prompt::plain(&model().tokenizer().unwrap().unwrap(), text);
    let options = EngineOptions { threads: 1, max_rows: tokens.len(), ..EngineOptions::default() };
    let mut engine = Engine::new(model(), &options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    let batch: Vec<_> = tokens.iter().map(|&token| BatchToken { sequence, token, want_logits: true }).collect();
    engine.forward_with_hidden(&batch).unwrap();
    let state = |row| {
        let mut state = vec![0.0; model().info().hidden];
        engine.add_hidden(row, &mut state).unwrap();
        state
    };
    (0..tokens.len()).map(state).collect()
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter().map(|value| value / length).collect()
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a}, not {b}"));
}

#[test]
fn a_text_is_the_mean_of_its_hidden_states_or_the_last() {
    let service = start();
    let text = "A few words to embed";
    let states = states(text);
    let mean: Vec<f32> = (0..states[0].len()).map(|i| states.iter().map(|state| state[i]).sum()).collect();
    let asked = |pooling: Value| vectors(&service, json!({ "input": text, "pooling": pooling })).remove(0);
    close(&asked(Value::Null), &unit(&mean));
    close(&asked("mean".into()), &unit(&mean));
    close(&asked("last".into()), &unit(states.last().unwrap()));
    let short = vectors(&service, json!({ "input": text, "dimensions": 5 })).remove(0);
    close(&short, &unit(&mean[..5]));
    let listed = service.get("/v1/models/tiny", &[]).json();
    assert_eq!(listed["embedding_length"], mean.len());
}

#[test]
fn inputs_are_texts_or_tokens_or_several() {
    let service = start();
    let tokens = prompt::plain(&model().tokenizer().unwrap().unwrap(), "abc");
    let one = vectors(&service, json!({ "input": "abc" }));
    assert_eq!(vectors(&service, json!({ "input": tokens })), one);
    let two = vectors(&service, json!({ "input": ["x", "abc"] }));
    assert_eq!((two.len(), &two[1]), (2, &one[0]));
    assert_eq!(vectors(&service, json!({ "input": [tokens, [7]] }))[0], one[0]);
    let usage = service.ask("/v1/embeddings", &json!({ "input": ["abc", "abcd"] }))["usage"].clone();
    assert_eq!(usage, json!({ "prompt_tokens": 7, "total_tokens": 7 }));
}

#[test]
fn base64_is_the_same_numbers() {
    let service = start();
    let plain = vectors(&service, json!({ "input": "abc" })).remove(0);
    let answer = service.ask("/v1/embeddings", &json!({ "input": "abc", "encoding_format": "base64" }));
    let text = answer["data"][0]["embedding"].as_str().unwrap().to_owned();
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.trim_end_matches('=').bytes().map(|c| u32::from(digit(c))).collect();
    let bytes: Vec<u8> = digits
        .chunks(4)
        .flat_map(|four| {
            let number = (0..4).fold(0, |number, i| number << 6 | four.get(i).copied().unwrap_or(0));
            number.to_be_bytes()[1..four.len()].to_vec()
        })
        .collect();
    let decoded: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(decoded, plain);
}

#[test]
fn many_inputs_need_few_places_and_disturb_nobody() {
    let options = engine::Options { concurrency: 2, queue: 1, chunk: 32, ..engine_options() };
    let service = serve(&options, Options::default());
    let inputs: Vec<String> = (0..23).map(|i| format!("Text {i} {}", "word ".repeat(i * 7 % 30))).collect();
    let alone: Vec<Vec<f32>> = inputs.iter().flat_map(|input| vectors(&service, json!({ "input": input }))).collect();
    let body = json!({ "prompt": "Beside them", "max_tokens": 60, "temperature": 0, "ignore_eos": true });
    let expected = service.ask("/v1/completions", &body)["choices"].clone();
    thread::scope(|scope| {
        let reply = scope.spawn(|| service.ask("/v1/completions", &body));
        let together = vectors(&service, json!({ "input": inputs }));
        together.iter().zip(&alone).for_each(|(a, b)| close(a, b));
        assert_eq!(reply.join().unwrap()["choices"], expected);
    });
}

#[test]
fn what_is_wrong_is_named() {
    let service = start();
    for (param, body) in [
        ("input", json!({})),
        ("input", json!({ "input": "" })),
        ("input", json!({ "input": [] })),
        ("input", json!({ "input": ["x", ""] })),
        ("input[1]", json!({ "input": ["x", 3] })),
        ("input[0]", json!({ "input": [100_000_000] })),
        ("input", json!({ "input": "x".repeat(3000) })),
        ("input", json!({ "input": vec!["x"; 2049] })),
        ("dimensions", json!({ "input": "x", "dimensions": 0 })),
        ("dimensions", json!({ "input": "x", "dimensions": 100_000 })),
        ("encoding_format", json!({ "input": "x", "encoding_format": "hex" })),
        ("pooling", json!({ "input": "x", "pooling": "max" })),
    ] {
        let answer = service.post("/v1/embeddings", &body);
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(param)), "{error}");
    }
}
