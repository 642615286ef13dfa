//! What goes to the terminal: stdout that takes a closed pipe quietly, remarks on stderr, and the exit code an outcome has.

use std::fmt;
use std::io::{self, IsTerminal, Write};
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

/// A line on stderr. One that is closed leaves no one to tell.
pub fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Asks for a line to be typed.
pub fn ask(prompt: &str) {
    let mut stderr = io::stderr();
    let _ = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
}

/// As `note`, dimmed on a terminal: what a person may well pass over.
pub fn aside(line: impl fmt::Display) {
    match is_styled(&io::stderr()) {
        true => note(format_args!("\x1b[2m{line}\x1b[0m")),
        false => note(line),
    }
}

/// Whether a line editor can work: it draws on stdout what is typed on stdin.
pub fn is_editable() -> bool {
    io::stdin().is_terminal()
        && io::stdout().is_terminal()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours and the like are welcome there: <https://no-color.org>.
pub fn is_styled(stream: &impl IsTerminal) -> bool {
    let var = |name| std::env::var_os(name).unwrap_or_default();
    stream.is_terminal() && var("NO_COLOR").is_empty() && var("TERM") != "dumb"
}

/// Text of a model as a terminal may get it: nothing that moves the cursor or does worse.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().filter(|c| *c != '\r').map(shown).collect()
}

pub fn exit_code(program: &str, outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::PipeClosed) => ExitCode::SUCCESS,
        Err(Failure::Line(line)) => {
            note(format_args!("{program}: {line}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(super::harmless("a\x1b[2Jb\r\n\tc\u{9b}"), "a␛[2Jb\n\tc\u{fffd}");
    }
}
