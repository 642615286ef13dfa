//! Typing at a terminal: a line editor with history, several lines, and completion of what `/` begins.

use std::path::PathBuf;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Cmd, CompletionType, Config, Context, Helper, KeyCode, KeyEvent, Modifiers};
use tcc_core::hub::store;
use tcrt_cli::chat::command::COMMANDS;
use tcrt_cli::chat::input::{Input, Lines, PROMPT, is_open, message};
use tcrt_cli::chat::settings;
use tcrt_cli::interrupt::Watch;
use tcrt_cli::output::{Result, aside, is_editable};

use crate::output::line;

const HISTORY_LINES: usize = 1000;

pub struct Editor {
    editor: rustyline::Editor<Grammar, FileHistory>,
    /// `None` where there is no place for one.
    history: Option<PathBuf>,
    /// Ctrl-C must not end the program in the moment between a reply and the next prompt.
    _watch: Watch,
}

impl Editor {
    /// An editor on the terminal, or `None` where there is none that can be edited on.
    pub fn new() -> Result<Option<Editor>> {
        if !is_editable() {
            return Ok(None);
        }
        let config = Config::builder().max_history_size(HISTORY_LINES).map_err(line)?;
        let config = config.completion_type(CompletionType::List).build();
        let mut editor = rustyline::Editor::with_default(config).map_err(line)?;
        editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
        let history = history().inspect_err(|error| aside(format_args!("no history is kept: {error}"))).ok();
        if let Some(path) = history.as_ref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            aside(format_args!("{}: {error}", path.display()));
        }
        Ok(Some(Editor { editor, history, _watch: Watch::interrupts().map_err(line)? }))
    }

    fn remember(&mut self, typed: &str) {
        let added = self.editor.add_history_entry(typed);
        if let (Ok(true), Some(path)) = (&added, &self.history) {
            // What was typed before is worth less than going on.
            let _ = self.editor.append_history(path);
        }
    }
}

impl Lines for Editor {
    fn read(&mut self) -> Result<Input> {
        match self.editor.readline(&(PROMPT, format!("\x1b[1m{PROMPT}\x1b[0m"))) {
            Ok(typed) => {
                if !typed.trim().is_empty() {
                    self.remember(&typed);
                }
                Ok(Input::Message(message(&typed)))
            }
            Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(line(format_args!("the terminal: {error}"))),
        }
    }
}

/// Where the history is kept, in a directory that is there.
fn history() -> std::result::Result<PathBuf, String> {
    let dir = store::state_dir().map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir.join("chat-history"))
}

/// What the editor must know of what is typed.
#[derive(Default)]
struct Grammar;

impl Helper for Grammar {}
impl Highlighter for Grammar {}

impl Hinter for Grammar {
    type Hint = String;
}

impl Validator for Grammar {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let open = is_open(context.input());
        Ok(if open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Grammar {
    type Candidate = Pair;

    fn complete(&self, typed: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = candidates(&typed[..at]);
        let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

/// Words that the last one of a command may become, and where it begins.
fn candidates(typed: &str) -> (usize, Vec<String>) {
    let (start, words) = match typed.strip_prefix("/set ") {
        Some(_) => (5, settings::names()),
        None => (0, COMMANDS.iter().map(|command| format!("/{}", command.names[0])).collect()),
    };
    let begun = &typed[start..];
    let fits = |word: &String| !typed.is_empty() && word.starts_with(begun);
    (start, words.into_iter().filter(fits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_settings_are_completed() {
        assert_eq!(candidates("/sy"), (0, vec!["/system".to_string()]));
        assert_eq!(candidates("/s").1.len(), 4);
        assert_eq!(candidates("/set top"), (5, vec!["top-p".to_string(), "top-k".into()]));
        assert!(candidates("/set ").1.len() > 10);
        assert_eq!([candidates("").1, candidates("hello").1, candidates("/set top-p 1").1], [[""; 0]; 3]);
    }
}
