//! What flows through a model when it reads a text, which tells a quantizer where precision matters.
//!
//! Halves of layers run one at a time as programs of their own ([`crate::models::build_half`]) on the runtime's kernels: their inputs are the
//! rows of a table, which takes the embedding's place, so nothing but the hidden states of the text is kept between layers.

mod drift;
mod moments;
mod run;
pub mod speech;
mod text;

pub use drift::{Drift, Pairs};
pub use moments::Moments;
pub use run::{HalfRun, head_inputs, logits};
pub use text::{DEFAULT_TEXT, Hidden, tokens};
