//! From a model's config to its plain graph. One builder serves the whole Llama family; what differs between its members is in
//! [`ModelConfig`]. Nothing is fused here: that is the passes' work.

mod llama;
mod rope;

pub use llama::{Gives, HIDDEN, Half, build, build_half, build_head};
pub use rope::{INV_FREQ, inverse_frequencies};
