//! What is wrong with a checkpoint: one line that names the file, the place in it and the reason.

use std::fmt;
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointError {
    message: String,
}

pub type Result<T> = std::result::Result<T, CheckpointError>;

impl CheckpointError {
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: one_line(&message.to_string()) }
    }

    /// Puts where it happened (a file, a tensor, an offset) before the message.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self::new(format_args!("{place}: {}", self.message))
    }

    #[must_use]
    pub fn in_file(self, path: &Path) -> Self {
        self.at(path.display())
    }
}

/// Names and strings quoted from a file may hold anything; a message stays one printable line of bounded length.
fn one_line(text: &str) -> String {
    const LIMIT: usize = 600;
    let mut line = String::with_capacity(text.len().min(LIMIT));
    for c in text.chars() {
        if line.len() >= LIMIT {
            line.push('…');
            break;
        }
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CheckpointError {}

impl From<String> for CheckpointError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// Shorthand for `CheckpointError::new(format_args!(…))`.
macro_rules! error {
    ($($arg:tt)*) => { $crate::checkpoint::CheckpointError::new(format_args!($($arg)*)) };
}
pub(crate) use error;
