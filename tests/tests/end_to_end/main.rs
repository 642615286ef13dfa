//! From a checkpoint to logits and text, through every part.

mod aarch64;
mod artifact;
mod calls;
mod formats;
mod goldens;
mod greedy;
mod native;
mod schema;
mod smollm2;
mod stories;
