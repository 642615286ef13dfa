//! What can go wrong, each in one line.

use std::fmt;

/// Text that is not a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub line: u32,
    pub column: u32,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Everything the verifier found; never empty. Each entry shows the node and says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidGraph {
    pub problems: Vec<String>,
}

impl fmt::Display for InvalidGraph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for InvalidGraph {}

/// The interpreter cannot run: a weight is missing or has the wrong size, or the batch does not fit the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError(pub String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}
