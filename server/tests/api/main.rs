//! The server over a loopback port, with a tiny random model.

mod batching;
mod chat;
mod completions;
mod limits;
mod malformed;
mod responses;
mod support;
