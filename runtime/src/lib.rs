//! libtcrt: loads an exported model, verifies it, and runs it. It depends on nothing but its kernels.

pub mod chat;
pub mod error;
pub mod program;
pub mod sampling;
pub mod stop;
pub mod sys;
pub mod tokenizer;

pub use error::{Error, ErrorKind, Result};
