//! What others ask at the same time changes no answer.

use std::collections::HashSet;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use tc_server::{Options, engine};
use tcrt::sampling::SamplerOptions;
use tcrt::{EngineOptions, Event, GenerateOptions, Session, prompt};

use crate::support::{engine_options, model, serve, start, text};

/// Requests of many lengths and kinds; every third begins like another.
fn requests() -> Vec<Value> {
    let request = |i: usize| {
        let prompt =
            format!("{}number {i}{}", ["", "Once upon a time there was ", "x"][i % 3], "y".repeat(i * 37 % 400));
        let temperature = [0.0, 1.0, 0.7][i % 3];
        json!({ "prompt": prompt, "temperature": temperature, "seed": i, "max_tokens": 20 + i * 13 % 60, "top_p": 0.9 })
    };
    (0..24).map(request).collect()
}

/// What the runtime generates for a request, with nothing beside it.
fn alone(request: &Value) -> String {
    let model = model();
    let tokenizer = model.tokenizer().unwrap().unwrap();
    let tokens = prompt::plain(&tokenizer, request["prompt"].as_str().unwrap());
    let options = GenerateOptions {
        max_new: request["max_tokens"].as_u64().unwrap() as usize,
        sampling: SamplerOptions {
            temperature: request["temperature"].as_f64().unwrap() as f32,
            top_p: request["top_p"].as_f64().unwrap() as f32,
            seed: request["seed"].as_u64().unwrap(),
            ..SamplerOptions::default()
        },
        stop_tokens: prompt::stop_tokens(model.stop_tokens(), &tokenizer, None),
        ..GenerateOptions::default()
    };
    let mut session = Session::new(model, &EngineOptions { threads: 1, ..EngineOptions::default() }).unwrap();
    let mut text = String::new();
    let generated = session.generate(&tokens, Some(&tokenizer), &options, |event| {
        if let Event::Text(piece) = event {
            text.push_str(piece);
        }
        ControlFlow::Continue(())
    });
    generated.unwrap();
    text
}

#[test]
fn answers_are_those_computed_alone() {
    let requests = requests();
    let expected: Vec<String> = requests.iter().map(alone).collect();
    for options in [
        engine_options(),
        // Small calls, a short queue for places, nothing kept.
        engine::Options { chunk: 24, concurrency: 5, kept: 0, ..engine_options() },
        engine::Options { threads: 2, chunk: 1, concurrency: 24, ..engine_options() },
    ] {
        let service = serve(&options, Options::default());
        for round in 0..2 {
            let answers: Vec<String> = std::thread::scope(|scope| {
                let ask = |request| text(&service.ask("/v1/completions", request)).to_owned();
                let asked: Vec<_> = requests.iter().map(|request| scope.spawn(move || ask(request))).collect();
                asked.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(answers, expected, "round {round}");
        }
    }
}

#[test]
fn a_beginning_that_was_seen_is_not_run_again() {
    let service = start();
    let ask = |end: &str| {
        let prompt = format!("{}{end}", "The same long beginning. ".repeat(8));
        service.ask("/v1/completions", &json!({ "prompt": prompt, "temperature": 0, "max_tokens": 12 }))
    };
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let first = ask("One");
    assert_eq!(cached(&first), 0);
    // A token for each byte.
    assert_eq!(cached(&ask("Two")), 200);
    let again = ask("One");
    assert_eq!(cached(&again), 202);
    assert_eq!(text(&again), text(&first));
    assert_eq!(service.metric("tcrt_reused_tokens_total"), 402.0);
}

#[test]
fn choices_share_their_prompt_and_differ() {
    let service = start();
    let ask = |n: u64| {
        let prompt = "A prompt that is long enough to be worth sharing. ".repeat(4);
        let body = json!({ "prompt": prompt, "n": n, "seed": 5, "max_tokens": 24 });
        let answer = service.ask("/v1/completions", &body);
        let choices = answer["choices"].as_array().unwrap();
        choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let four = ask(4);
    assert!((1..4).all(|i| four[i] != four[0]), "{four:?}");
    // Four prompts of 200 tokens, of which three are the first one's but for the last token.
    assert_eq!(service.metric("tcrt_reused_tokens_total"), 597.0);
    assert_eq!(ask(4), four, "a seed gives the same answers");
    assert_eq!(ask(1), four[..1]);
}

#[test]
fn a_seed_decides() {
    let service = start();
    let ask = |seed: Value| {
        let body = json!({ "prompt": "Tell me", "seed": seed, "max_tokens": 24 });
        text(&service.ask("/v1/completions", &body)).to_owned()
    };
    assert_eq!(ask(7.into()), ask(7.into()));
    assert_ne!(ask(7.into()), ask(8.into()));
    assert_eq!(ask((-7).into()), ask((-7).into()));
    // Two of them may be equal by chance, as when both end at once.
    let unseeded = (0..8).map(|_| ask(Value::Null)).collect::<HashSet<_>>();
    assert!(unseeded.len() > 1, "without a seed, every answer is another one: {unseeded:?}");
}
