//! libtcrt: loads an exported model, verifies it, and runs it. It depends on nothing but its kernels.

mod capi;
pub mod chat;
pub mod engine;
pub mod error;
mod exec;
pub mod grammar;
pub mod kv;
pub mod model;
pub mod native;
pub mod program;
pub mod prompt;
pub mod sampling;
pub mod session;
pub mod stop;
pub mod sys;
pub mod tokenizer;

pub use engine::{BatchToken, Engine, EngineOptions, Logits, MemoryPlan, memory_plan};
pub use error::{Error, ErrorKind, Result};
pub use kv::{KvType, SeqId};
pub use model::{Model, ModelInfo};
pub use session::{
    Draft, DraftModel, Event, Finish, GenerateOptions, Generation, Lookup, NoDraft, Session, Stats, TextStream,
};
