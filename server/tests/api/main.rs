//! The server over a loopback port, with a tiny random model.

mod batching;
mod chat;
mod completions;
mod embeddings;
mod forms;
mod limits;
mod malformed;
mod page;
mod responses;
mod support;
