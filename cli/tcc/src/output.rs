//! What `tcc` prints besides what `tcrt_cli` does.

use std::fmt::Display;

use tcrt_cli::output::{Failure, note};

/// Any error is one line.
pub fn line(error: impl Display) -> Failure {
    Failure::Line(error.to_string())
}

pub fn warn(text: impl Display) {
    note(format_args!("tcc: warning: {text}"));
}

/// As people read sizes.
pub fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
