//! A server to ask, and what asks it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use serde_json::{Value, json};
use tc_server::{Options, Running, Server, engine};
use tcc_core::export::{ExportOptions, export};
use tcc_core::synth::{Dtype, synth};
use tcrt::Model;

/// Text that is plainly one of a role, so that a tokenizer of bytes will do.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}\n{% endfor %}\
                        {% if add_generation_prompt %}[assistant]{% endif %}";
/// One token that is a whole call, so that a bias makes a random model call.
pub const CALL_TOKEN: u32 = 300;
pub const CALL: &str = "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1.0}}</tool_call>";
pub const POSITIONS: usize = 2048;
pub const VOCAB: u32 = 512;

/// A random model with a tokenizer of bytes and a chat format.
pub fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    Arc::clone(MODEL.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        synth("tiny", directory.path(), Dtype::F32, &|_, _| {}).unwrap();
        edit(&directory.path().join("config.json"), |config| config["max_position_embeddings"] = POSITIONS.into());
        edit(&directory.path().join("tokenizer.json"), |tokenizer| {
            let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
            vocab.retain(|_, id| *id != CALL_TOKEN);
            vocab.insert(CALL.into(), CALL_TOKEN.into());
            let added = json!({
                "id": CALL_TOKEN, "content": CALL, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": false,
            });
            tokenizer["added_tokens"].as_array_mut().unwrap().insert(0, added);
        });
        let template = directory.path().join("chat.jinja");
        std::fs::write(&template, TEMPLATE).unwrap();
        let output = directory.path().join("tiny.pte");
        let options =
            ExportOptions { chat_template: Some(template.to_str().unwrap().into()), ..ExportOptions::default() };
        let report = export(directory.path(), &output, options).unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        Model::load(&output).unwrap()
    }))
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

pub fn engine_options() -> engine::Options {
    engine::Options { threads: 1, ..engine::Options::default() }
}

/// A running server and a client of it.
pub struct Service {
    pub running: Option<Running>,
    pub address: SocketAddr,
    agent: ureq::Agent,
}

pub fn serve(engine: &engine::Options, options: Options) -> Service {
    serve_models(vec![("tiny".into(), model())], engine, options)
}

pub fn serve_models(models: Vec<(String, Arc<Model>)>, engine: &engine::Options, options: Options) -> Service {
    let server = Server::new(models, engine, options).unwrap();
    let running = server.spawn(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    // The server closes connections that say nothing for a while, so none waits for its next request.
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_idle_connections(0).build();
    Service { address: running.address(), running: Some(running), agent: config.into() }
}

pub fn start() -> Service {
    serve(&engine_options(), Options::default())
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn of(response: ureq::http::Response<ureq::Body>) -> Answer {
        let (parts, mut body) = response.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text: body.read_to_string().unwrap() }
    }
}

impl Service {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = headers.iter().fold(self.agent.get(self.url(path)), |r, (name, value)| r.header(*name, *value));
        Answer::of(request.call().unwrap())
    }

    pub fn options(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.agent.options(self.url(path));
        Answer::of(headers.iter().fold(request, |r, (name, value)| r.header(*name, *value)).call().unwrap())
    }

    pub fn send(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let request = headers.iter().fold(self.agent.post(self.url(path)), |r, (name, value)| r.header(*name, *value));
        Answer::of(request.send(body).unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// An answer that must be one.
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text);
        answer.json()
    }

    /// The data of a stream's events, without the `[DONE]` that must come last where there are no names.
    pub fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = true.into();
        let request = self.agent.post(self.url(path)).header("content-type", "application/json");
        let response = request.send(body.to_string().as_bytes()).unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let lines = BufReader::new(response.into_body().into_reader()).lines().map(Result::unwrap);
        let mut data: Vec<String> = lines.filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned())).collect();
        if path != "/v1/responses" {
            assert_eq!(data.pop().as_deref(), Some("[DONE]"));
        }
        data.iter().map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// A figure of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics", &[]).text;
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("{page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// The text of a completion's first choice.
pub fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

/// Holds an engine before its calls.
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Calls that may go on.
    allowed: usize,
    /// Calls that have come.
    arrived: usize,
}

impl Gate {
    pub fn closed() -> Arc<Gate> {
        Arc::new(Gate { state: Mutex::new(State { allowed: 0, arrived: 0 }), changed: Condvar::new() })
    }

    pub fn hook(self: &Arc<Gate>) -> engine::StepHook {
        let gate = Arc::clone(self);
        Arc::new(move || {
            let mut state = gate.state.lock().unwrap();
            state.arrived += 1;
            gate.changed.notify_all();
            let mut state = gate.changed.wait_while(state, |state| state.allowed == 0).unwrap();
            state.allowed -= 1;
        })
    }

    /// Lets this many more calls go on.
    pub fn allow(&self, calls: usize) {
        let mut state = self.state.lock().unwrap();
        state.allowed = state.allowed.saturating_add(calls);
        self.changed.notify_all();
    }

    pub fn open(&self) {
        self.allow(usize::MAX);
    }

    /// Until this many calls have come.
    pub fn wait_for(&self, calls: usize) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| state.arrived < calls).unwrap());
    }
}
