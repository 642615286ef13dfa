//! The C ABI: `runtime/include/tcrt.h` is generated from this folder, comments included (`cargo xtask header`).
//!
//! Handles are numbers from a table, never addresses, so a handle that was freed, or is of another type, is an error and not a
//! crash; `handle.rs` has the table. Every function runs inside `status::call`, which turns errors into codes and catches
//! panics. What remains unsafe is reading and writing what callers point to: `memory.rs` and `versioned.rs`.

#![allow(unsafe_code, reason = "the C boundary: what callers point to is read and written here")]
#![allow(non_camel_case_types, reason = "C's names")]

mod chat;
mod generate;
mod handle;
mod log;
mod memory;
mod model;
mod sampler;
mod session;
mod state;
mod status;
mod tokenizer;
mod versioned;
