//! Every failure of the runtime is a value: what kind it is (whose fault), and one line that says what, where and why.

use std::fmt;

/// Whose fault an error is; stable, and mapped one to one onto the codes of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operating system refused: the file is missing, unreadable, the disk is full.
    Io,
    /// A file is not what it should be: wrong magic, truncated, out of bounds, inconsistent.
    InvalidFile,
    /// The file is sound but asks for something this runtime does not have.
    Unsupported,
    /// The caller passed something that makes no sense.
    InvalidArgument,
    /// The caller's request is sound but exceeds a limit: context, memory, sequences.
    LimitExceeded,
    /// The numbers went wrong: logits that are not finite.
    NotFinite,
    /// The caller cancelled.
    Cancelled,
    /// A fault of this library.
    Internal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    message: String,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn invalid_file(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidFile, message)
    }

    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Puts where it happened (a file's name, a section) before the message.
    #[must_use]
    pub fn in_place(self, place: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{place}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
