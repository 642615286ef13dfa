//! What `/metrics` shows, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Seconds.
const BOUNDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[derive(Default)]
struct Histogram {
    /// How many fell between each bound and the one before; the last are above all.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, time: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < time.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }

    fn write(&self, out: &mut String, name: &str, model: &str) {
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            line(out, format_args!("{name}_bucket{{model={model},le=\"{bound}\"}} {below}"));
        }
        let count = self.count();
        line(out, format_args!("{name}_bucket{{model={model},le=\"+Inf\"}} {count}"));
        line(out, format_args!("{name}_sum{{model={model}}} {}", self.seconds()));
        line(out, format_args!("{name}_count{{model={model}}} {count}"));
    }
}

/// One engine's figures.
#[derive(Default)]
pub struct EngineMetrics {
    running: AtomicU64,
    waiting: AtomicU64,
    kv_bytes: AtomicU64,
    calls: AtomicU64,
    call_tokens: AtomicU64,
    call_micros: AtomicU64,
    prompt_tokens: AtomicU64,
    reused_tokens: AtomicU64,
    new_tokens: AtomicU64,
    abandoned: AtomicU64,
    first_token: Histogram,
    duration: Histogram,
}

impl EngineMetrics {
    pub fn state(&self, running: usize, waiting: usize, kv_bytes: u64) {
        self.running.store(running as u64, Ordering::Relaxed);
        self.waiting.store(waiting as u64, Ordering::Relaxed);
        self.kv_bytes.store(kv_bytes, Ordering::Relaxed);
    }

    pub fn started(&self, prompt: usize, reused: usize) {
        self.prompt_tokens.fetch_add(prompt as u64, Ordering::Relaxed);
        self.reused_tokens.fetch_add(reused as u64, Ordering::Relaxed);
    }

    pub fn call(&self, tokens: usize, time: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.call_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        self.call_micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    pub fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    pub fn ended(&self, new_tokens: usize, first_token: Option<Duration>, duration: Duration) {
        self.new_tokens.fetch_add(new_tokens as u64, Ordering::Relaxed);
        first_token.into_iter().for_each(|time| self.first_token.observe(time));
        self.duration.observe(duration);
    }

    /// The mean time of a reply, for estimates.
    pub fn mean_duration(&self) -> Duration {
        match self.duration.count() {
            0 => Duration::from_secs(1),
            count => Duration::from_secs_f64(self.duration.seconds() / count as f64),
        }
    }

    fn gauges(&self) -> [(&'static str, &'static str, &AtomicU64); 3] {
        [
            ("tcrt_running", "Replies that run", &self.running),
            ("tcrt_waiting", "Replies that wait for a place", &self.waiting),
            ("tcrt_kv_bytes", "Bytes of the KV cache in use", &self.kv_bytes),
        ]
    }

    fn counters(&self) -> [(&'static str, &'static str, &AtomicU64); 6] {
        [
            ("tcrt_prompt_tokens_total", "Tokens of prompts", &self.prompt_tokens),
            ("tcrt_reused_tokens_total", "Of these, shared with earlier prompts", &self.reused_tokens),
            ("tcrt_new_tokens_total", "Tokens of replies", &self.new_tokens),
            ("tcrt_abandoned_total", "Replies whose client left", &self.abandoned),
            ("tcrt_calls_total", "Forward calls", &self.calls),
            ("tcrt_call_tokens_total", "Tokens of forward calls", &self.call_tokens),
        ]
    }
}

/// Answers by endpoint and status.
#[derive(Default)]
pub struct HttpMetrics {
    answers: Mutex<BTreeMap<(String, u16), u64>>,
}

impl HttpMetrics {
    pub fn answered(&self, endpoint: &str, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((endpoint.to_owned(), status)).or_default() += 1;
    }
}

/// The whole page.
pub fn page(http: &HttpMetrics, engines: &[(&str, &EngineMetrics)]) -> String {
    let mut out = String::new();
    // A Rust string's escapes are those of a label.
    let engines: Vec<(String, &EngineMetrics)> = engines.iter().map(|(id, e)| (format!("{id:?}"), *e)).collect();
    head(&mut out, "tcrt_http_answers_total", "counter", "HTTP answers");
    for ((endpoint, status), count) in http.answers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let labels = format_args!("endpoint={endpoint:?},status=\"{status}\"");
        line(&mut out, format_args!("tcrt_http_answers_total{{{labels}}} {count}"));
    }
    let Some((_, first)) = engines.first() else { return out };
    values(&mut out, "gauge", &first.gauges(), |i| engines.iter().map(move |(id, e)| (id, e.gauges()[i].2)));
    values(&mut out, "counter", &first.counters(), |i| engines.iter().map(move |(id, e)| (id, e.counters()[i].2)));
    head(&mut out, "tcrt_call_seconds_total", "counter", "Time of forward calls");
    for (id, engine) in &engines {
        let seconds = engine.call_micros.load(Ordering::Relaxed) as f64 / 1e6;
        line(&mut out, format_args!("tcrt_call_seconds_total{{model={id}}} {seconds}"));
    }
    head(&mut out, "tcrt_first_token_seconds", "histogram", "From a request to its first token");
    engines.iter().for_each(|(id, engine)| engine.first_token.write(&mut out, "tcrt_first_token_seconds", id));
    head(&mut out, "tcrt_reply_seconds", "histogram", "From a request to the end of its reply");
    engines.iter().for_each(|(id, engine)| engine.duration.write(&mut out, "tcrt_reply_seconds", id));
    out
}

fn values<'a, I: Iterator<Item = (&'a String, &'a AtomicU64)>>(
    out: &mut String,
    kind: &str,
    what: &[(&str, &str, &AtomicU64)],
    of: impl Fn(usize) -> I,
) {
    for (i, (name, help, _)) in what.iter().enumerate() {
        head(out, name, kind, help);
        for (id, value) in of(i) {
            line(out, format_args!("{name}{{model={id}}} {}", value.load(Ordering::Relaxed)));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}
