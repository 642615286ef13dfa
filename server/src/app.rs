//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::HttpMetrics;
use crate::served::Served;

#[derive(Clone, Debug)]
pub struct Options {
    /// One of these must come with every request; none: anybody may ask.
    pub api_keys: Vec<String>,
    /// Sites whose pages may ask, `*` for all.
    pub cors: Vec<String>,
    /// Bytes of a request's body.
    pub body_limit: usize,
    /// From a request's arrival to the end of its answer.
    pub timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        let (api_keys, cors) = (Vec::new(), Vec::new());
        Options { api_keys, cors, body_limit: 4 << 20, timeout: Some(Duration::from_secs(600)) }
    }
}

pub struct App {
    /// At least one.
    pub models: Vec<Arc<Served>>,
    pub options: Options,
    pub http: HttpMetrics,
}

impl App {
    pub fn deadline(&self) -> Option<Instant> {
        self.options.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }
}
