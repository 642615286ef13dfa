//! What the tests of the workspace share: synthetic weights, goldens of `transformers`, and checkpoints that other programs wrote.
//!
//! The Python scripts beside the data made it; the tests need only what is committed.

pub mod fixtures;
pub mod golden;
pub mod synthetic;
