//! What flows through a model when it reads a text, which tells a quantizer where precision matters.
//!
//! Layers run one at a time as programs of their own ([`crate::models::build_layer`]) on the runtime's kernels: their inputs are the
//! rows of a table, which takes the embedding's place, so nothing but the hidden states of the text is kept between layers.

mod moments;
mod run;
mod text;

pub use moments::Moments;
pub use run::{LayerRun, head_inputs};
pub use text::{DEFAULT_TEXT, Hidden, tokens};
