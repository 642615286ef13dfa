//! Answers that are held to a form. The model is a random one, so what comes out well-formed is so by the form alone.

use serde_json::{Value, json};

use crate::support::{CALL_TOKEN, Service, start, text};

/// Short enough that a random model comes to its end.
fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["zone", "answer"],
        "properties": { "zone": { "enum": ["b", "a"] }, "answer": { "type": "boolean" }, "more": { "type": "null" } },
    })
}

fn check(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let object = value.as_object().unwrap();
    assert!(["a", "b"].contains(&object["zone"].as_str().unwrap()) && object["answer"].is_boolean(), "{text}");
    assert!(object.keys().all(|key| ["zone", "answer", "more"].contains(&key.as_str())), "{text}");
    // In the order of the schema, not of the alphabet.
    assert_eq!(object.keys().next().unwrap(), "zone");
}

fn chat(service: &Service, more: Value) -> Value {
    let mut body = json!({ "seed": 4, "messages": [{ "role": "user", "content": "Hello" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    service.ask("/v1/chat/completions", &body)
}

#[test]
fn an_answer_is_json_that_its_schema_accepts() {
    let service = start();
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema() } });
    let answer = chat(&service, json!({ "response_format": format, "n": 8, "logprobs": true }));
    let choices = answer["choices"].as_array().unwrap();
    for choice in choices {
        check(choice["message"]["content"].as_str().unwrap());
        assert_eq!(choice["finish_reason"], "stop", "its form has ended it");
    }
    assert!(choices.iter().any(|choice| choice["message"] != choices[0]["message"]), "the form does not choose");
    // The model's own probabilities: those of a random model are all small.
    let scores = choices[0]["logprobs"]["content"].as_array().unwrap();
    assert!(scores.iter().any(|score| score["logprob"].as_f64().unwrap() < -1.0));

    let body = json!({ "messages": [{ "role": "user", "content": "Hello" }], "response_format": format });
    let chunks = service.stream("/v1/chat/completions", &body);
    check(&chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect::<String>());

    let format = json!({ "format": { "type": "json_schema", "name": "x", "strict": true, "schema": schema() } });
    let response = service.ask("/v1/responses", &json!({ "input": "Hello", "text": format }));
    check(response["output"][0]["content"][0]["text"].as_str().unwrap());
    assert_eq!(response["text"], format);
}

#[test]
fn what_has_begun_is_not_lost_where_tokens_run_out() {
    let service = start();
    let format = json!({ "type": "json_object" });
    let answer = chat(&service, json!({ "response_format": format, "max_tokens": 5, "n": 6 }));
    for choice in answer["choices"].as_array().unwrap() {
        let text = choice["message"]["content"].as_str().unwrap().trim_start();
        assert!(text.is_empty() || text.starts_with('{'), "{text}");
        assert!(choice["finish_reason"] == "length" || serde_json::from_str::<Value>(text).is_ok(), "{choice}");
    }
}

#[test]
fn a_grammar_is_held_too() {
    let service = start();
    let body = json!({ "prompt": ["x", "y"], "n": 4, "grammar": "root ::= (\"yes\" | \"no\") \"!\"{1,3}" });
    for choice in service.ask("/v1/completions", &body)["choices"].as_array().unwrap() {
        let text = choice["text"].as_str().unwrap();
        assert!(["yes", "no"].contains(&text.trim_end_matches('!')) && text.ends_with('!'), "{text}");
    }
    let greedy = json!({ "prompt": "x", "temperature": 0, "grammar": "root ::= [a-z]{4}" });
    let again = service.ask("/v1/completions", &greedy);
    assert_eq!(text(&service.ask("/v1/completions", &greedy)), text(&again));
    assert_eq!(text(&again).len(), 4);
}

fn tools(strict: bool) -> Value {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "strict": strict, "parameters": schema() } });
    json!([tool("add"), tool("take \"away\"")])
}

#[test]
fn required_calls_are_sound() {
    let service = start();
    let named = json!({ "type": "function", "function": { "name": "take \"away\"" } });
    for (choice, parallel) in [(json!("required"), true), (json!("required"), false), (named.clone(), true)] {
        let any = choice != named;
        let asked = json!({ "tools": tools(false), "tool_choice": choice, "n": 6, "parallel_tool_calls": parallel, "max_tokens": 400 });
        for choice in chat(&service, asked)["choices"].as_array().unwrap() {
            let message = &choice["message"];
            // A random model may call until its tokens run out; then the last call stays text.
            let whole = choice["finish_reason"] == "tool_calls";
            assert!(whole || parallel && any, "{choice}");
            assert_eq!(message["content"].is_null(), whole, "{choice}");
            let calls = message["tool_calls"].as_array().unwrap();
            assert!(parallel && any || calls.len() == 1, "{choice}");
            for call in calls {
                let name = call["function"]["name"].as_str().unwrap();
                assert!(name == "take \"away\"" || any && name == "add");
                check(call["function"]["arguments"].as_str().unwrap());
            }
        }
    }
}

#[test]
fn an_answer_of_a_form_may_be_a_call_instead() {
    let service = start();
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema() } });
    let asked = |bias: i32| {
        let bias = json!({ CALL_TOKEN.to_string(): bias });
        let tools = json!([{ "type": "function", "function": { "name": "add", "parameters": { "type": "object" } } }]);
        json!({
            "tools": tools, "response_format": format, "n": 4, "max_tokens": 400, "logit_bias": bias,
            "parallel_tool_calls": false,
        })
    };
    // With the bias, the token that is a whole call outweighs everything that the form allows, which only allows it at the beginning.
    for choice in chat(&service, asked(100))["choices"].as_array().unwrap() {
        assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\": 1.0}", "{choice}");
    }
    for choice in chat(&service, asked(-100))["choices"].as_array().unwrap() {
        match choice["message"]["content"].as_str() {
            Some(content) => check(content),
            None => assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "add"),
        }
    }
}

#[test]
fn forms_that_cannot_be_held_are_refused_by_name() {
    let service = start();
    let pattern = json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "x+" } } });
    let schema = |schema: &Value, strict: bool| json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema, "strict": strict } });
    let tool = |parameters: &Value, strict: bool| json!([{ "type": "function", "function": { "name": "f", "parameters": parameters, "strict": strict } }]);
    for (param, why, body) in [
        ("response_format.json_schema.schema", "\"pattern\"", json!({ "response_format": schema(&pattern, true) })),
        (
            "response_format.json_schema.schema",
            "no type",
            json!({ "response_format": schema(&json!({ "type": "text" }), false) }),
        ),
        ("response_format.json_schema", "Missing", json!({ "response_format": { "type": "json_schema" } })),
        (
            "response_format.json_schema.schema",
            "Missing",
            json!({ "response_format": { "type": "json_schema", "json_schema": {} } }),
        ),
        ("tools[0].function.parameters", "\"pattern\"", json!({ "tools": tool(&pattern, true) })),
        ("grammar", "root", json!({ "grammar": "x ::= y" })),
        ("grammar", "another", json!({ "grammar": "root ::= \"a\"", "response_format": { "type": "json_object" } })),
        ("grammar", "exclude", json!({ "grammar": "root ::= \"a\"", "tools": tool(&pattern, false) })),
    ] {
        let mut body = body;
        body["messages"] = json!([{ "role": "user", "content": "Hi" }]);
        let answer = service.post("/v1/chat/completions", &body);
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(param)), "{body}: {error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    // Not strict, what can be held is held.
    let answer = chat(&service, json!({ "response_format": schema(&pattern, false), "max_tokens": 3 }));
    assert!(answer["choices"][0]["message"]["content"].is_string());
}
