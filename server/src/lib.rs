//! Serves models over HTTP, as OpenAI's API has it. See docs/server.md.
//!
//! A request is read and checked by `api`, becomes one `engine::Request` for each reply, and its events come back as they happen. The engine
//! is a thread a model that knows nothing of HTTP.

mod api;
mod app;
pub mod engine;
mod grammars;
mod guard;
mod listen;
mod metrics;
mod page;
mod random;
mod run;
mod served;
mod sse;
mod tools;

pub use app::Options;
pub use run::{Running, Server, serve_until_interrupted};

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
