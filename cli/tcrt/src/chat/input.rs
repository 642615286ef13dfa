//! Where messages come from, and how one spans lines: between `"""` and `"""`, or with `\` at the end of a line.

use std::io::{self, BufRead};

use crate::output::{Failure, Result, ask};

pub enum Input {
    Message(String),
    /// Ctrl-C, where a program of its own is not what it ends.
    Interrupted,
    End,
}

pub trait Lines {
    fn read(&mut self) -> Result<Input>;
}

/// What a person is asked with.
pub const PROMPT: &str = "> ";
const QUOTES: &str = "\"\"\"";

/// Whether more lines belong to what was typed.
pub fn is_open(text: &str) -> bool {
    match text.trim_start().strip_prefix(QUOTES) {
        Some(rest) => !rest.trim_end().ends_with(QUOTES),
        None => text.ends_with('\\'),
    }
}

/// The message that was typed, without what kept it open.
pub fn message(text: &str) -> String {
    match text.trim_start().strip_prefix(QUOTES) {
        Some(rest) => rest.trim_end().trim_end_matches(QUOTES).trim_matches('\n').to_string(),
        None => text.replace("\\\n", "\n").trim_end_matches('\\').trim().to_string(),
    }
}

/// Standard input, line by line, as the terminal or a pipe gives it.
pub struct Plain {
    /// A prompt is for people.
    prompt: bool,
}

impl Plain {
    #[allow(clippy::new_without_default, reason = "what it is depends on the terminal")]
    pub fn new() -> Plain {
        Plain { prompt: super::is_person() }
    }
}

impl Lines for Plain {
    fn read(&mut self) -> Result<Input> {
        let mut text = String::new();
        loop {
            if self.prompt {
                ask(if text.is_empty() { PROMPT } else { "… " });
            }
            let read = io::stdin().lock().read_line(&mut text);
            let read = read.map_err(|error| Failure::Line(format!("standard input: {error}")))?;
            let typed = text.strip_suffix('\n').unwrap_or(&text);
            if read == 0 && text.is_empty() {
                return Ok(Input::End);
            }
            if read == 0 || !is_open(typed) {
                return Ok(Input::Message(message(typed)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined() {
        assert!(is_open("a\\") && is_open("\"\"\"a\nb") && is_open("\"\"\""));
        assert!(!is_open("a") && !is_open("\"\"\"a\"\"\"") && !is_open("\"\"\"a\n\"\"\" "));
        assert_eq!(message("a\\\nb\\\n c "), "a\nb\n c");
        assert_eq!(message("\"\"\"\n  a\nb\\\n\"\"\""), "  a\nb\\");
        assert_eq!(message("\"\"\"never closed\n"), "never closed");
        assert_eq!(message("end\\"), "end");
    }
}
