pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod emit;
pub mod eval;
pub mod export;
pub mod files;
pub mod hub;
pub mod inspect;
pub mod lower;
pub mod models;
pub mod passes;
pub mod program;
pub mod quantize;
pub mod recipe;
pub mod synth;
#[cfg(test)]
mod testing;
pub mod tokenizer;
