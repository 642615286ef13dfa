//! `/v1/responses`.

use serde_json::{Value, json};

use crate::support::{CALL_TOKEN, start};

#[test]
fn events_tell_the_response_as_it_grows() {
    let service = start();
    let body = json!({ "input": "Hello", "instructions": "Be brief.", "seed": 1, "max_output_tokens": 12 });
    // Made by the request's `seed`, so equal but for names and times.
    let mut whole = body.clone();
    whole["temperature"] = 0.into();
    let response = service.ask("/v1/responses", &whole);
    let events = service.stream("/v1/responses", &whole);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        &kinds[..4],
        ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    );
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..events.len() as u64));
    let text: String = events
        .iter()
        .filter(|e| e["type"] == "response.output_text.delta")
        .map(|e| e["delta"].as_str().unwrap())
        .collect();
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], text);
    assert_eq!(response["output"][0]["content"][0]["text"], text);
    assert_eq!(response["status"], last["status"]);
    assert_eq!(response["usage"]["input_tokens"], last["usage"]["input_tokens"]);
}

#[test]
fn calls_are_items() {
    let service = start();
    let body = json!({
        "input": [
            { "role": "user", "content": [{ "type": "input_text", "text": "Add" }] },
            { "type": "function_call", "call_id": "c", "name": "add", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c", "output": "3" },
        ],
        "tools": [{ "type": "function", "name": "add", "parameters": {} }],
        "temperature": 0, "max_output_tokens": 1, "top_logprobs": 1,
        "logit_bias": { CALL_TOKEN.to_string(): 100 },
    });
    let response = service.ask("/v1/responses", &body);
    let item = &response["output"][0];
    assert_eq!(
        (&item["type"], &item["name"], &item["arguments"]),
        (&json!("function_call"), &json!("add"), &json!("{\"a\": 1.0}"))
    );
    let events = service.stream("/v1/responses", &body);
    let done = events.iter().find(|event| event["type"] == "response.function_call_arguments.done").unwrap();
    assert_eq!(done["arguments"], "{\"a\": 1.0}");
}

#[test]
fn what_needs_a_store_is_refused() {
    let service = start();
    for (param, value) in
        [("previous_response_id", json!("resp_1")), ("background", json!(true)), ("conversation", json!("c"))]
    {
        let mut body = json!({ "input": "Hi" });
        body[param] = value;
        let answer = service.post("/v1/responses", &body);
        let error: Value = answer.json()["error"].clone();
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(param)), "{error}");
    }
}
