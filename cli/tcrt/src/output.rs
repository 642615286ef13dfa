//! What goes to the terminal: stdout that takes a closed pipe quietly, and the exit code an outcome has.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// One line for the user; exit code 1.
    Line(String),
    /// Whoever read our output has gone: nothing more to do, and nothing went wrong here.
    PipeClosed,
}

pub type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => f.write_str(line),
            Self::PipeClosed => f.write_str("standard output was closed"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<tcrt::Error> for Failure {
    fn from(error: tcrt::Error) -> Self {
        Self::Line(error.to_string())
    }
}

impl From<io::Error> for Failure {
    /// Only writes to stdout convert by `?`; a file's error is named where it happens.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::PipeClosed,
            _ => Self::Line(format!("standard output: {error}")),
        }
    }
}

pub fn failure<T>(line: impl Into<String>) -> Result<T> {
    Err(Failure::Line(line.into()))
}

/// Writes at once, so that text is seen as it comes.
pub fn show(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())?;
    Ok(out.flush()?)
}

pub fn exit_code(program: &str, outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::PipeClosed) => ExitCode::SUCCESS,
        Err(Failure::Line(line)) => {
            // A closed stderr leaves no one to tell.
            let _ = writeln!(io::stderr(), "{program}: {line}");
            ExitCode::FAILURE
        }
    }
}
