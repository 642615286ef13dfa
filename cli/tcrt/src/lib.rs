//! What both command lines print by: output that takes a closed pipe quietly, and replies streamed to the terminal.

pub mod generate;
pub mod output;
