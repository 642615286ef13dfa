//! The tensor IR: what a model computes for one call, a ragged batch of `n` tokens that asks for the logits of `m` rows.
//!
//! ```text
//! graph @llama(n: tokens <= 512, m: rows <= 64) {
//!   %0: f32[n, 576] = embed @embed: i4g32[49152, 576]
//!   %1: f32[n, 576] = rms_norm %0, @layers.0.attention_norm: f32[576] {eps = 1e-5}
//!   ...
//!   output %57
//! }
//! ```
//!
//! A [`Graph`] is an SSA list of nodes; a node is an [`Op`] and the [`Type`] of its one result. The call's tokens,
//! positions, sequences and asked-for rows are implicit inputs: `embed`, `rope_table`, the attention ops and
//! `gather_rows` read them. Weights are named constants, see [`Weight`]. The only state is the KV cache, which the ops
//! with an [`Effect`] touch in the order of the list.
//!
//! [`op`] lists the ops: the *plain* ones that frontends build with a [`Builder`], and the *fused* ones that passes make.
//! [`verify()`] says what a valid graph is, [`interp`] what it computes. Every graph prints, and [`parse()`] reads it back.

mod build;
mod error;
mod graph;
mod infer;
pub mod interp;
mod lex;
pub mod op;
mod parse;
mod print;
mod types;
mod verify;
mod weight;

pub use build::{AttentionSpec, Builder};
pub use error::{InvalidGraph, ParseError, RunError};
pub use graph::{Bounds, Graph, Node, Value};
pub use op::{Effect, Op};
pub use parse::parse;
pub use types::{Dim, Dtype, Quant, Scheme, Type};
pub use verify::verify;
pub use weight::{Part, Weight};
