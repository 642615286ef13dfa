//! A reply streamed to stdout, and its figures.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use tcrt::tokenizer::Tokenizer;
use tcrt::{Draft, Event, Finish, GenerateOptions, Generation, Session};

use crate::chat::Markdown;
use crate::output::{Failure, Result, harmless, is_styled, show};

/// Puts a reply's text on stdout: as it is into a pipe, without what could harm on a terminal, with styles where they are welcome.
pub struct Printer {
    terminal: bool,
    markdown: Option<Markdown>,
}

impl Printer {
    pub fn plain() -> Printer {
        Printer { terminal: io::stdout().is_terminal(), markdown: None }
    }

    /// For text that is likely to be Markdown.
    pub fn styled() -> Printer {
        Printer { markdown: is_styled(&io::stdout()).then(Markdown::default), ..Printer::plain() }
    }

    fn text(&mut self, piece: &str) -> Result<()> {
        match (&mut self.markdown, self.terminal) {
            (Some(markdown), _) => show(markdown.push(&harmless(piece))),
            (None, true) => show(harmless(piece)),
            (None, false) => show(piece),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.markdown.as_mut().map_or(Ok(()), |markdown| show(markdown.finish()))
    }
}

/// Streams the reply to `prompt`, and returns it with its text.
pub fn stream(
    session: &mut Session,
    prompt: &[u32],
    tokenizer: &Tokenizer,
    options: &GenerateOptions,
    draft: &mut dyn Draft,
) -> Result<(Generation, String)> {
    stream_to(&mut Printer::plain(), session, prompt, tokenizer, options, draft)
}

pub fn stream_to(
    printer: &mut Printer,
    session: &mut Session,
    prompt: &[u32],
    tokenizer: &Tokenizer,
    options: &GenerateOptions,
    draft: &mut dyn Draft,
) -> Result<(Generation, String)> {
    let mut text = String::new();
    let mut closed = None;
    let outcome = session.generate_with(prompt, Some(tokenizer), options, draft, |event| {
        let Event::Text(piece) = event else { return ControlFlow::Continue(()) };
        text.push_str(piece);
        match printer.text(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                closed = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(failure) = closed {
        return Err(failure);
    }
    printer.end()?;
    Ok((outcome?, text))
}

/// One line: how fast, and why it ended where that is not plain to see.
pub fn figures(generation: &Generation) -> String {
    let stats = &generation.stats;
    format!(
        "[{} prompt tokens at {}/s, {} new tokens at {}/s, load {:.0} ms, first token {:.0} ms{}]",
        stats.prompt_tokens,
        rate(stats.prefill_tokens_per_second()),
        stats.new_tokens,
        rate(stats.decode_tokens_per_second()),
        stats.load.as_secs_f64() * 1e3,
        stats.first_token.as_secs_f64() * 1e3,
        remarks(generation),
    )
}

/// As `figures`, of a reply in a conversation.
pub fn brief_figures(generation: &Generation) -> String {
    let stats = &generation.stats;
    let rate = rate(stats.decode_tokens_per_second());
    format!("[{} tokens at {rate}/s{}]", stats.new_tokens, remarks(generation))
}

fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.1}"))
}

fn remarks(generation: &Generation) -> String {
    let end = match generation.finish {
        Finish::Length => ", ended by -n",
        Finish::Context => ", ended because the context is full",
        Finish::Cancelled => ", stopped",
        _ => "",
    };
    match (generation.stats.drafted_tokens, generation.stats.accepted_tokens) {
        (0, _) => end.into(),
        (drafted, accepted) => format!(", {accepted} of {drafted} guesses right{end}"),
    }
}

pub fn read_to_string(mut from: impl std::io::Read) -> Result<String> {
    let mut text = String::new();
    from.read_to_string(&mut text).map_err(|error| Failure::Line(format!("standard input: {error}")))?;
    Ok(text)
}
