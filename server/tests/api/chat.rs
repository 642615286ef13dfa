//! `/v1/chat/completions`.

use serde_json::{Value, json};

use crate::support::{CALL_TOKEN, Service, start};

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "add", "description": "Adds", "parameters": { "type": "object" } } }])
}

/// The delta texts of one choice.
fn contents(chunks: &[Value], index: usize) -> String {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let own = choices.filter(|choice| choice["index"] == index);
    own.filter_map(|choice| choice["delta"]["content"].as_str()).collect()
}

fn ask(service: &Service, more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "max_tokens": 16, "seed": 4,
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hello" }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    service.ask("/v1/chat/completions", &body)
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let service = start();
    let body = json!({
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hel" }, { "type": "text", "text": "lo" }] }],
        "n": 3, "seed": 4, "max_completion_tokens": 20, "logprobs": true, "top_logprobs": 2,
    });
    let whole = service.ask("/v1/chat/completions", &body);
    let chunks = service.stream("/v1/chat/completions", &body);
    for index in 0..3 {
        let choice = &whole["choices"][index];
        assert_eq!(contents(&chunks, index), choice["message"]["content"].as_str().unwrap());
        let of_choice = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index);
        let scores = of_choice.filter_map(|choice| choice["logprobs"]["content"].as_array());
        let scores: Vec<Value> = scores.flatten().cloned().collect();
        assert_eq!(&scores, choice["logprobs"]["content"].as_array().unwrap());
        assert!(scores.iter().all(|score| score["top_logprobs"].as_array().unwrap().len() == 2));
    }
    let first = &chunks[0]["choices"][0];
    assert_eq!((&first["delta"]["role"], &first["delta"]["content"]), (&json!("assistant"), &json!("")));
}

#[test]
fn calls_come_as_calls() {
    let service = start();
    // Nothing but calls: the bias outweighs everything.
    let bias = json!({ CALL_TOKEN.to_string(): 100 });
    let asked = json!({ "tools": tools(), "logit_bias": bias, "max_tokens": 2, "temperature": 0 });
    let answer = ask(&service, asked.clone());
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], Value::Null);
    let calls = message["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{message}");
    assert_eq!(calls[0]["function"], json!({ "name": "add", "arguments": "{\"a\": 1.0}" }));
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "the model had no chance to stop");

    let mut one = asked.clone();
    one["parallel_tool_calls"] = false.into();
    let message = ask(&service, one)["choices"][0]["message"].clone();
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    assert!(message["content"].as_str().unwrap().starts_with("<tool_call>"), "no text is lost: {message}");

    let mut none = asked;
    none["tool_choice"] = "none".into();
    let message = ask(&service, none)["choices"][0]["message"].clone();
    assert!(message.get("tool_calls").is_none() && message["content"].as_str().unwrap().contains("<tool_call>"));
}

#[test]
fn calls_stream_with_their_numbers() {
    let service = start();
    let body = json!({
        "messages": [{ "role": "user", "content": "Add" }], "tools": tools(), "max_tokens": 2, "temperature": 0,
        "logit_bias": { CALL_TOKEN.to_string(): 100 },
    });
    let chunks = service.stream("/v1/chat/completions", &body);
    let calls = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten();
    let indices: Vec<u64> = calls.map(|call| call["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1]);
    assert_eq!(contents(&chunks, 0), "");
}

#[test]
fn a_required_call_that_does_not_end_stays_text() {
    let service = start();
    let forced = |choice: Value| ask(&service, json!({ "tools": tools(), "tool_choice": choice, "max_tokens": 3 }));
    for choice in [json!("required"), json!({ "type": "function", "function": { "name": "add" } })] {
        // What it was made to begin with as well.
        let message = forced(choice)["choices"][0]["message"].clone();
        assert!(message["content"].as_str().unwrap().starts_with("<tool_call>\n{\"name\": \""), "{message}");
    }
}

#[test]
fn results_of_calls_are_taken() {
    let service = start();
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "add", "arguments": "{\"a\": 1}" } });
    let messages = json!([
        { "role": "user", "content": "Add" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_1", "content": "2" },
    ]);
    let without = ask(&service, json!({ "messages": messages }));
    let with = ask(&service, json!({ "messages": messages, "tools": tools() }));
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens(&with) > tokens(&without) + 100, "the tools are part of the prompt");
}

#[test]
fn a_conversation_that_goes_on_is_not_run_again() {
    let service = start();
    let first = ask(&service, json!({ "temperature": 0 }));
    let said = first["choices"][0]["message"]["content"].clone();
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "Hello" },
        { "role": "assistant", "content": said },
        { "role": "user", "content": "Go on" },
    ]);
    let second = ask(&service, json!({ "messages": messages }));
    let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached >= first["usage"]["prompt_tokens"].as_u64().unwrap(), "{second}");
}
