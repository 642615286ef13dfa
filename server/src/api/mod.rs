//! OpenAI's endpoints, one a file.

mod chat;
mod completions;
mod embeddings;
mod error;
mod fields;
mod format;
mod json;
mod messages;
mod models;
mod params;
mod prompts;
pub(crate) mod replies;
mod responses;
mod route;

pub use error::ApiError;
pub use route::{router, unknown_url};

/// What answers say of the program that made them.
const FINGERPRINT: &str = concat!("tcrt-", env!("CARGO_PKG_VERSION"));
