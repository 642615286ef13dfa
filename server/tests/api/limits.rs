//! Too many, too long, too late, gone: what the server does then. Nothing here waits for a time, but where time is the subject.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tc_server::{Options, engine};

use crate::support::{Gate, Service, engine_options, serve, start, text};

fn held(gate: &Arc<Gate>, concurrency: usize, queue: usize) -> Service {
    let options = engine::Options { concurrency, queue, before_step: Some(gate.hook()), ..engine_options() };
    serve(&options, Options::default())
}

#[test]
fn who_finds_no_place_is_told_to_come_back() {
    let gate = Gate::closed();
    let service = held(&gate, 1, 1);
    let body = json!({ "prompt": "x", "max_tokens": 4, "temperature": 0 });
    thread::scope(|scope| {
        let first = scope.spawn(|| service.post("/v1/completions", &body));
        gate.wait_for(1);
        // One runs, and one may wait: two are too many.
        let two = service.post("/v1/completions", &json!({ "prompt": "x", "n": 2 }));
        assert_eq!((two.status, two.json()["error"]["code"].as_str()), (429, Some("queue_full")));
        assert!(two.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        let three = service.post("/v1/completions", &json!({ "prompt": "x", "n": 3 }));
        assert_eq!(three.status, 400, "so many would never find places: {}", three.text);
        gate.open();
        assert_eq!(first.join().unwrap().status, 200);
    });
    assert_eq!(service.post("/v1/completions", &body).status, 200);
}

#[test]
fn who_leaves_is_not_answered_any_more() {
    for stream in [false, true] {
        let gate = Gate::closed();
        let service = held(&gate, 2, 2);
        let body = json!({ "prompt": "x", "max_tokens": 2000, "ignore_eos": true, "stream": stream }).to_string();
        let mut connection = TcpStream::connect(service.address).unwrap();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
        write!(connection, "{head}\r\n\r\n{body}").unwrap();
        gate.wait_for(1);
        drop(connection);
        // The engine finds out between two of its calls.
        let mut calls = 0;
        while service.metric("tcrt_abandoned_total") == 0.0 {
            calls += 1;
            assert!(calls < 1500, "the reply runs on");
            gate.allow(1);
            thread::sleep(Duration::from_millis(2));
        }
        gate.open();
        let after = service.ask("/v1/completions", &json!({ "prompt": "x", "max_tokens": 3 }));
        assert!(after["choices"][0]["finish_reason"].is_string());
    }
}

#[test]
fn what_takes_too_long_is_given_up() {
    let hook: engine::StepHook = Arc::new(|| thread::sleep(Duration::from_millis(60)));
    let options = engine::Options { before_step: Some(hook), ..engine_options() };
    let service = serve(&options, Options { timeout: Some(Duration::from_millis(40)), ..Options::default() });
    let body = json!({ "prompt": "x", "max_tokens": 100, "ignore_eos": true });
    let answer = service.post("/v1/completions", &body);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (504, Some("timeout")));
    // What has begun to stream ends with the error, and not as if it were whole.
    let mut streamed = body;
    streamed["stream"] = true.into();
    let answer = service.post("/v1/completions", &streamed);
    let last = answer.text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((answer.status, last["error"]["code"].as_str()), (200, Some("timeout")));
}

#[test]
fn who_asks_much_does_not_hold_up_who_asks_little() {
    let gate = Gate::closed();
    let service = held(&gate, 1, 8);
    let finished = std::sync::Mutex::new(Vec::new());
    let so_far = || finished.lock().unwrap().clone();
    let ask = |who: &'static str, tokens: u64| {
        let headers = [("content-type", "application/json"), ("authorization", who)];
        let body = json!({ "prompt": "x", "max_tokens": tokens, "ignore_eos": true }).to_string();
        assert_eq!(service.send("/v1/completions", &headers, body.as_bytes()).status, 200);
        finished.lock().unwrap().push(who);
    };
    let first = thread::scope(|scope| {
        // The first one runs until all others wait, each of which has its place before the next one comes.
        for (waiting, who) in ["Bearer much", "Bearer much", "Bearer much", "Bearer little"].into_iter().enumerate() {
            let ask = &ask;
            scope.spawn(move || ask(who, if who == "Bearer little" { 2 } else { 1000 }));
            gate.wait_for(1);
            while service.metric("tcrt_waiting") < waiting as f64 {
                gate.allow(1);
                thread::sleep(Duration::from_millis(1));
            }
        }
        // A step at a time: a third one needs a thousand after the second, whose answer is seen by then.
        while !so_far().contains(&"Bearer little") {
            gate.allow(1);
            thread::sleep(Duration::from_millis(1));
        }
        let first = so_far();
        gate.open();
        first
    });
    assert_eq!(first, ["Bearer much", "Bearer little"]);
}

#[test]
fn a_server_that_stops_finishes_its_answers() {
    let gate = Gate::closed();
    let mut service = held(&gate, 1, 1);
    let running = service.running.take().unwrap();
    let address = service.address;
    let body = json!({ "prompt": "x", "max_tokens": 30, "ignore_eos": true });
    let ask = || service.ask("/v1/completions", &body);
    thread::scope(|scope| {
        let asked = [scope.spawn(ask), scope.spawn(ask)];
        gate.wait_for(1);
        while service.get("/metrics", &[]).text.contains("tcrt_waiting{model=\"tiny\"} 0\n") {
            gate.allow(1);
        }
        let stopping = scope.spawn(move || running.stop());
        // New connections are refused as soon as it has begun to stop.
        while TcpStream::connect(address).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        gate.open();
        for thread in asked {
            assert_eq!(thread.join().unwrap()["usage"]["completion_tokens"], 30);
        }
        stopping.join().unwrap();
    });
}

#[test]
fn a_key_opens_and_nothing_else_does() {
    let service =
        serve(&engine_options(), Options { api_keys: vec!["secret".into(), "other".into()], ..Options::default() });
    let with = |key: &str| service.get("/v1/models", &[("authorization", key)]).status;
    assert_eq!([with("Bearer secret"), with("bearer other")], [200, 200]);
    for wrong in ["Bearer secre", "Bearer secret2", "Bearer", "Basic secret", ""] {
        assert_eq!(with(wrong), 401, "{wrong}");
    }
    let without = service.post("/v1/completions", &json!({ "prompt": "x" }));
    assert_eq!((without.status, without.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    assert_eq!(service.get("/health", &[]).status, 200);
}

#[test]
fn pages_of_other_sites_may_ask_only_where_allowed() {
    let allow = |service: &Service| {
        let answer = service.get("/health", &[("origin", "https://a.example")]);
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(allow(&start()), None);
    let one = |site: &str| serve(&engine_options(), Options { cors: vec![site.into()], ..Options::default() });
    assert_eq!(allow(&one("https://b.example")), None);
    assert_eq!(allow(&one("https://a.example")).as_deref(), Some("https://a.example"));
    assert_eq!(allow(&one("*")).as_deref(), Some("https://a.example"));
    // What a browser asks before it sends JSON or a key, which brings no key itself.
    let with_key = Options { cors: vec!["*".into()], api_keys: vec!["secret".into()], ..Options::default() };
    for (service, status) in [(serve(&engine_options(), with_key), 204), (start(), 403)] {
        let asked = service.options("/v1/chat/completions", &[("origin", "https://a.example")]);
        assert_eq!(asked.status, status);
        assert_eq!(asked.header("access-control-allow-headers").is_some(), status == 204);
    }
}

#[test]
fn a_page_whose_site_has_a_name_asks_only_where_allowed_or_with_a_key() {
    let asks = |service: &Service, origin: &str, key: &str| {
        let headers = [("origin", origin), ("content-type", "application/json"), ("authorization", key)];
        service.send("/v1/completions", &headers, br#"{"prompt": "x", "max_tokens": 1}"#).status
    };
    let open = start();
    for own in ["http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000", "https://192.168.1.7"] {
        assert_eq!(asks(&open, own, ""), 200, "{own}");
    }
    for other in [
        "http://rebound.example:5000",
        "https://127.0.0.1.rebound.example",
        "null",
        "http://localhost.example",
        "\u{e9}",
    ] {
        assert_eq!(asks(&open, other, ""), 403, "{other}");
    }
    let named = Options { cors: vec!["https://chat.example".into()], ..Options::default() };
    let named = serve(&engine_options(), named);
    assert_eq!(asks(&named, "https://chat.example", ""), 200);
    assert_eq!(asks(&named, "https://chat.example:81", ""), 403);
    let keyed = serve(&engine_options(), Options { api_keys: vec!["secret".into()], ..Options::default() });
    assert_eq!(asks(&keyed, "https://chat.example", "Bearer secret"), 200);
    assert_eq!(asks(&keyed, "https://chat.example", "Bearer guess"), 401);
}

#[test]
fn several_models_are_served_by_their_names() {
    let models = vec![("one".into(), crate::support::model()), ("org/two".into(), crate::support::model())];
    let service = crate::support::serve_models(models, &engine_options(), Options::default());
    let listed = service.get("/v1/models", &[]).json();
    let names: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "org/two"]);
    assert_eq!(service.get("/v1/models/org/two", &[]).json()["id"], "org/two");
    let ask = |model: serde_json::Value| {
        service.ask("/v1/completions", &json!({ "model": model, "prompt": "x", "max_tokens": 3, "temperature": 0 }))
    };
    let answers = ["one".into(), "org/two".into(), serde_json::Value::Null].map(ask);
    assert_eq!(answers.each_ref().map(|answer| answer["model"].as_str().unwrap()), ["one", "org/two", "one"]);
    assert_eq!(text(&answers[0]), text(&answers[1]));
    // A reply is counted once it has been sent.
    let counted = |page: &str| {
        ["one\"} 2", "org/two\"} 1"]
            .iter()
            .all(|end| page.contains(&format!("tcrt_reply_seconds_count{{model=\"{end}")))
    };
    let pages = std::iter::repeat_with(|| service.get("/metrics", &[]).text);
    let last = pages.take(1000).find(|page| counted(page));
    assert!(last.is_some(), "{}", service.get("/metrics", &[]).text);
}

#[test]
fn the_context_ends_a_reply() {
    let service = serve(&engine::Options { context: 64, ..engine_options() }, Options::default());
    let body = json!({ "prompt": "x".repeat(50), "max_tokens": 500, "ignore_eos": true, "temperature": 0 });
    let answer = service.ask("/v1/completions", &body);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    // 50 tokens of prompt leave room for 14, and one more comes out of the last.
    assert_eq!(answer["usage"]["completion_tokens"], 15);
    assert!(!text(&answer).is_empty());
}
