//! `/v1/completions`.

use serde_json::{Value, json};
use tcrt::{BatchToken, Engine, EngineOptions, prompt};

use crate::support::{Service, VOCAB, model, start, text};

fn joined(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect()
}

/// Whole and streamed must say the same.
fn both(service: &Service, body: &Value) -> Value {
    let whole = service.ask("/v1/completions", body);
    let chunks = service.stream("/v1/completions", body);
    assert_eq!(joined(&chunks), text(&whole), "{body}");
    let finish = chunks.iter().rev().find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(finish, whole["choices"][0]["finish_reason"].as_str(), "{body}");
    whole
}

/// Log probabilities of every token after every beginning of `tokens`, from the runtime.
fn log_softmax(tokens: &[u32]) -> Vec<Vec<f32>> {
    let rows = tokens.len();
    let options = EngineOptions { threads: 1, max_rows: rows, ..EngineOptions::default() };
    let mut engine = Engine::new(model(), &options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    let batch: Vec<_> = tokens.iter().map(|&token| BatchToken { sequence, token, want_logits: true }).collect();
    let logits = engine.forward(&batch).unwrap();
    let row = |row: usize| {
        let row = logits.row(row);
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let norm = max + row.iter().map(|l| f64::from(l - max).exp()).sum::<f64>().ln() as f32;
        row.iter().map(|l| l - norm).collect()
    };
    (0..rows).map(row).collect()
}

fn close(found: &Value, expected: f32) {
    let found = found.as_f64().unwrap() as f32;
    assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
}

#[test]
fn scores_are_those_of_the_logits() {
    let service = start();
    let words = "A few words to score";
    let body = json!({ "prompt": words, "echo": true, "logprobs": 3, "max_tokens": 6, "seed": 1 });
    let answer = both(&service, &body);
    let mut tokens = prompt::plain(&model().tokenizer().unwrap().unwrap(), words);
    let prompt_len = tokens.len();
    let scores = &answer["choices"][0]["logprobs"];
    assert!(scores["token_logprobs"][0].is_null() && scores["top_logprobs"][0].is_null());
    // The ids of the reply: the names of this tokenizer's tokens are unique.
    let tokenizer = model().tokenizer().unwrap().unwrap();
    let names: Vec<String> = (0..VOCAB).map(|id| name(tokenizer.token_bytes(id).unwrap())).collect();
    for found in &scores["tokens"].as_array().unwrap()[prompt_len..] {
        tokens.push(names.iter().position(|name| name == found.as_str().unwrap()).unwrap() as u32);
    }
    assert_eq!(scores["tokens"].as_array().unwrap().len(), tokens.len());
    for (i, row) in log_softmax(&tokens[..tokens.len() - 1]).iter().enumerate() {
        close(&scores["token_logprobs"][i + 1], row[tokens[i + 1] as usize]);
        let mut best: Vec<usize> = (0..row.len()).collect();
        best.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        for id in &best[..3] {
            close(&scores["top_logprobs"][i + 1][&names[*id]], row[*id]);
        }
    }
    let offsets: Vec<u64> = scores["text_offset"].as_array().unwrap().iter().map(|o| o.as_u64().unwrap()).collect();
    assert!(offsets.is_sorted() && offsets[0] == 0);
}

fn name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("bytes:{}", bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()),
    }
}

#[test]
fn scores_do_not_depend_on_what_is_kept_or_beside() {
    let service = start();
    let body = json!({
        "prompt": ["The first of two prompts.", "The first of two texts, which begins alike."],
        "echo": true, "logprobs": 0, "max_tokens": 0,
    });
    let first = service.ask("/v1/completions", &body);
    let again = service.ask("/v1/completions", &body);
    assert_eq!(first["choices"], again["choices"]);
    assert_eq!(first["choices"][1]["text"], body["prompt"][1]);
    assert_eq!(first["usage"]["completion_tokens"], 0);
}

#[test]
fn prompts_are_texts_or_tokens_or_several() {
    let service = start();
    let tokens = prompt::plain(&model().tokenizer().unwrap().unwrap(), "abc");
    let ask = |prompt: Value| {
        let answer = service.ask("/v1/completions", &json!({ "prompt": prompt, "temperature": 0, "max_tokens": 8 }));
        let choices = answer["choices"].as_array().unwrap();
        choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let expected = ask("abc".into());
    assert_eq!(ask(json!(tokens)), expected);
    let two = ask(json!(["abc", "xyz"]));
    assert_eq!((two.len(), &two[0]), (2, &expected[0]));
    assert_eq!(ask(json!([tokens, tokens])), [&expected[..], &expected[..]].concat());
}

#[test]
fn stop_strings_end_a_text_wherever_tokens_do() {
    let service = start();
    let body = json!({ "prompt": "Stop me", "seed": 3, "max_tokens": 40 });
    let full = text(&both(&service, &body)).to_owned();
    let characters: Vec<char> = full.chars().collect();
    // Tokens are bytes and short words, so these lie across tokens.
    for (at, len) in [(4, 3), (9, 5), (15, 2), (20, 8)] {
        let stop: String = characters[at..at + len].iter().collect();
        if stop.contains(char::REPLACEMENT_CHARACTER) {
            continue;
        }
        let mut with_stop = body.clone();
        with_stop["stop"] = json!(["never said", stop]);
        with_stop["logprobs"] = 0.into();
        let answer = both(&service, &with_stop);
        assert_eq!(text(&answer), full.split(&stop).next().unwrap(), "stop at {stop:?}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        // The tokens that are scored are those that the text keeps something of.
        let names: String = answer["choices"][0]["logprobs"]["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_str().unwrap())
            .collect();
        let said = text(&answer).trim_start();
        assert!(names.contains("bytes:") || names.trim_start().starts_with(said), "{names:?}, {said:?}");
    }
}

#[test]
fn characters_are_never_split() {
    let service = start();
    // Only the two bytes of an é may come, in any order.
    let others = (0..VOCAB).filter(|id| ![0xc3, 0xa9].contains(id));
    let bias: serde_json::Map<String, Value> = others.map(|id| (id.to_string(), (-100).into())).collect();
    let body = json!({ "prompt": "é", "seed": 2, "max_tokens": 60, "frequency_penalty": 2, "logit_bias": bias });
    let answer = both(&service, &body);
    assert!(text(&answer).contains('é'), "{answer}");
    assert!(text(&answer).chars().all(|c| c == 'é' || c == char::REPLACEMENT_CHARACTER), "{answer}");
}

#[test]
fn the_best_are_those_whose_tokens_are_the_most_probable() {
    let service = start();
    let body = json!({ "prompt": ["abc", "xyz"], "seed": 5, "max_tokens": 9, "n": 6, "logprobs": 0 });
    let all = service.ask("/v1/completions", &body);
    let mean = |choice: &Value| {
        let scores = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        scores.iter().map(|score| score.as_f64().unwrap()).sum::<f64>() / scores.len() as f64
    };
    let mut expected = Vec::new();
    for of_prompt in all["choices"].as_array().unwrap().chunks(6) {
        let mut sorted: Vec<&Value> = of_prompt.iter().collect();
        sorted.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        expected.extend(sorted[..2].iter().map(|choice| choice["text"].clone()));
    }
    let mut asked = body;
    asked["n"] = 2.into();
    asked["best_of"] = 6.into();
    for logprobs in [Value::Null, json!(1)] {
        asked["logprobs"] = logprobs.clone();
        let best = service.ask("/v1/completions", &asked);
        let choices = best["choices"].as_array().unwrap();
        assert_eq!(choices.iter().map(|choice| choice["text"].clone()).collect::<Vec<_>>(), expected);
        assert!(choices.iter().enumerate().all(|(i, choice)| choice["index"] == i));
        assert!(choices.iter().all(|choice| choice["logprobs"].is_null() == logprobs.is_null()));
        assert_eq!(best["usage"]["completion_tokens"], all["usage"]["completion_tokens"], "all were made");
    }
    for (body, why) in [
        (json!({ "prompt": "x", "n": 3, "best_of": 2 }), "less than"),
        (json!({ "prompt": "x", "best_of": 2, "stream": true }), "streamed"),
    ] {
        let answer = service.post("/v1/completions", &body);
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some("best_of")));
        assert!(answer.text.contains(why), "{}", answer.text);
    }
}

#[test]
fn usage_comes_last_where_it_is_asked_for() {
    let service = start();
    let body =
        json!({ "prompt": "abc", "max_tokens": 3, "ignore_eos": true, "stream_options": { "include_usage": true } });
    let chunks = service.stream("/v1/completions", &body);
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 3);
    assert_eq!(last["usage"]["prompt_tokens"], 3);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null()));
}
