//! Requests that are wrong get an error that names what is wrong, and nothing else happens.

use serde_json::{Value, json};
use tc_server::Options;
use tcrt::sampling::Rng;

use crate::support::{engine_options, serve, start};

fn chat() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 2 })
}

#[test]
fn the_parameter_is_named() {
    let service = start();
    for (param, value) in [
        ("temperature", json!("hot")),
        ("temperature", json!(2.5)),
        ("top_p", json!(-0.1)),
        ("n", json!(0)),
        ("n", json!(1.5)),
        ("seed", json!(1.5)),
        ("seed", json!("x")),
        ("stop", json!(3)),
        ("stop[0]", json!([""])),
        ("stop[1]", json!(["a", 1])),
        ("stream", json!("yes")),
        ("logprobs", json!(3)),
        ("top_logprobs", json!(21)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!("many")),
        ("logit_bias", json!([])),
        ("logit_bias.9999999", json!({ "9999999": 1 })),
        ("logit_bias.5", json!({ "5": 101 })),
        ("presence_penalty", json!(3)),
        ("messages", json!("Hi")),
        ("messages", json!([])),
        ("messages[0]", json!(["Hi"])),
        ("messages[0].role", json!([{ "role": "robot", "content": "Hi" }])),
        ("messages[0].content", json!([{ "role": "user" }])),
        ("messages[0].content", json!([{ "role": "user", "content": 5 }])),
        ("messages[0].content[0].type", json!([{ "role": "user", "content": [{ "type": "image_url" }] }])),
        ("messages[0].tool_calls[0].function", json!([{ "role": "assistant", "tool_calls": [{ "id": "x" }] }])),
        ("response_format.json_schema", json!({ "type": "json_schema" })),
        ("response_format.schema", json!({ "type": "json_object", "schema": 3 })),
        ("grammar", json!(3)),
        ("response_format.type", json!({ "type": "yaml" })),
        ("tools[0].function.name", json!([{ "type": "function", "function": {} }])),
        ("tool_choice", json!("required")),
        ("stream_options", json!({ "include_usage": true })),
        ("model", json!("gpt-9")),
        ("model", json!(3)),
    ] {
        let mut body = chat();
        body[param.split(['.', '[']).next().unwrap()] = value;
        let answer = service.post("/v1/chat/completions", &body);
        let error = answer.json()["error"].clone();
        let status = if error["code"] == "model_not_found" { 404 } else { 400 };
        assert_eq!((answer.status, error["param"].as_str()), (status, Some(param)), "{body}: {error}");
        assert!(error["message"].as_str().unwrap().ends_with('.') && error["type"] == "invalid_request_error");
    }
}

#[test]
fn what_is_unknown_or_null_is_passed_over() {
    let service = start();
    let mut body = chat();
    body["service_tier"] = "auto".into();
    body["store"] = true.into();
    body["temperature"] = Value::Null;
    body["stop"] = Value::Null;
    assert_eq!(service.post("/v1/chat/completions", &body).status, 200);
}

#[test]
fn a_prompt_that_is_too_long_is_refused() {
    let service = start();
    let body = json!({ "messages": [{ "role": "user", "content": "x".repeat(3000) }] });
    let answer = service.post("/v1/chat/completions", &body);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some("context_length_exceeded")));
}

#[test]
fn other_urls_methods_and_types() {
    let service = serve(&engine_options(), Options { body_limit: 1000, ..Options::default() });
    let kind = |answer: &crate::support::Answer| answer.json()["error"]["type"].clone();
    for (answer, status) in [
        (service.get("/v1/nothing", &[]), 404),
        (service.get("/v1/chat/completions", &[]), 405),
        (service.get("/v1/models/none", &[]), 404),
        (service.send("/v1/chat/completions", &[("content-type", "text/plain")], b"{}"), 415),
        (service.send("/v1/chat/completions", &[], b"{}"), 415),
        (service.post("/v1/completions", &json!({ "prompt": "x".repeat(2000) })), 413),
        (service.post("/v1/completions", &json!("text")), 400),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(kind(&answer), "invalid_request_error");
    }
    assert_eq!(service.get("/v1/models", &[]).json()["data"][0]["id"], "tiny");
    assert_eq!(service.get("/v1/models/tiny", &[]).json()["object"], "model");
}

/// A value of some type, small enough to be answered at once.
fn odd_value(rng: &mut Rng) -> Value {
    match rng.next_u64() % 10 {
        0 => Value::Null,
        1 => true.into(),
        2 => (-1).into(),
        3 => 1e300.into(),
        4 => "text \u{0} \u{10ffff}".into(),
        5 => json!([]),
        6 => json!({}),
        7 => json!([[1], {"type": "text"}]),
        8 => 0.into(),
        _ => json!({ "type": "function", "function": { "name": "f" } }),
    }
}

/// Puts odd values into a random place.
fn spoil(value: &mut Value, rng: &mut Rng) {
    let pick = rng.next_u64() as usize;
    match value {
        Value::Object(map) if !map.is_empty() && !pick.is_multiple_of(4) => {
            let key = map.keys().nth(pick % map.len()).unwrap().clone();
            spoil(map.get_mut(&key).unwrap(), rng);
        }
        Value::Array(items) if !items.is_empty() && !pick.is_multiple_of(4) => {
            let len = items.len();
            spoil(&mut items[pick % len], rng);
        }
        value => *value = odd_value(rng),
    }
}

#[test]
fn nothing_that_is_sent_does_harm() {
    let service = start();
    let bodies = [
        (
            "/v1/chat/completions",
            json!({
                "model": "tiny", "max_tokens": 2, "temperature": 0.5, "n": 2, "stop": ["a", "b"], "logprobs": true,
                "top_logprobs": 2, "logit_bias": { "5": 1 }, "seed": 3, "stream": false,
                "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "array" } } },
                "messages": [
                    { "role": "system", "content": "s" },
                    { "role": "user", "content": [{ "type": "text", "text": "Hi" }] },
                    { "role": "assistant", "content": null, "tool_calls": [
                        { "id": "1", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
                    { "role": "tool", "tool_call_id": "1", "content": "x" },
                ],
                "tools": [{ "type": "function", "function": { "name": "f", "parameters": {} } }], "tool_choice": "auto",
            }),
        ),
        (
            "/v1/completions",
            json!({ "prompt": ["a", "b"], "max_tokens": 2, "echo": true, "logprobs": 1, "stop": "x", "best_of": 2 }),
        ),
        (
            "/v1/embeddings",
            json!({ "input": ["a", [5]], "dimensions": 3, "encoding_format": "base64", "pooling": "last" }),
        ),
        (
            "/v1/responses",
            json!({
                "input": [{ "role": "user", "content": "Hi" }, { "type": "function_call_output", "call_id": "1", "output": "x" }],
                "max_output_tokens": 2, "tools": [{ "type": "function", "name": "f", "parameters": {} }],
                "text": { "format": { "type": "text" } }, "include": ["message.output_text.logprobs"],
            }),
        ),
    ];
    let mut rng = Rng::new(11);
    for case in 0..900 {
        let (path, body) = &bodies[case % bodies.len()];
        let mut body = body.clone();
        for _ in 0..1 + case % 3 {
            spoil(&mut body, &mut rng);
        }
        let mut bytes = body.to_string().into_bytes();
        if case % 5 == 0 && !bytes.is_empty() {
            let at = rng.next_u64() as usize % bytes.len();
            bytes[at] = rng.next_u64() as u8;
        }
        if case % 7 == 0 {
            bytes.truncate(rng.next_u64() as usize % (bytes.len() + 1));
        }
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let answer = service.send(path, &[("content-type", "application/json")], &bytes);
        assert!(answer.status == 200 || (400..500).contains(&answer.status), "{shown}: {}", answer.text);
        if answer.status != 200 {
            assert!(answer.json()["error"]["message"].is_string(), "{shown}: {}", answer.text);
        }
    }
    let good = service.post("/v1/chat/completions", &chat());
    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!(service.metric("tcrt_waiting"), 0.0);
}
