//! A reply streamed to stdout, and its figures.

use std::ops::ControlFlow;

use tcrt::tokenizer::Tokenizer;
use tcrt::{Draft, Event, Finish, GenerateOptions, Generation, Session};

use crate::output::{Failure, Result, show};

/// Streams the reply to `prompt`, and returns it with its text.
pub fn stream(
    session: &mut Session,
    prompt: &[u32],
    tokenizer: &Tokenizer,
    options: &GenerateOptions,
    draft: &mut dyn Draft,
) -> Result<(Generation, String)> {
    let mut text = String::new();
    let mut closed = None;
    let generation = session.generate_with(prompt, Some(tokenizer), options, draft, |event| {
        let Event::Text(piece) = event else { return ControlFlow::Continue(()) };
        text.push_str(piece);
        match show(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                closed = Some(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    match closed {
        Some(failure) => Err(failure),
        None => Ok((generation, text)),
    }
}

/// One line on stderr: how fast, and why it ended where that is not plain to see.
pub fn figures(generation: &Generation) -> String {
    let stats = &generation.stats;
    let rate = |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.1}"));
    let end = match generation.finish {
        Finish::Length => ", ended by -n",
        Finish::Context => ", ended because the context is full",
        _ => "",
    };
    let guesses = match (stats.drafted_tokens, stats.accepted_tokens) {
        (0, _) => String::new(),
        (drafted, accepted) => format!(", {accepted} of {drafted} guesses right"),
    };
    format!(
        "[{} prompt tokens at {}/s, {} new tokens at {}/s, load {:.0} ms, first token {:.0} ms{guesses}{end}]",
        stats.prompt_tokens,
        rate(stats.prefill_tokens_per_second()),
        stats.new_tokens,
        rate(stats.decode_tokens_per_second()),
        stats.load.as_secs_f64() * 1e3,
        stats.first_token.as_secs_f64() * 1e3,
    )
}

pub fn read_to_string(mut from: impl std::io::Read) -> Result<String> {
    let mut text = String::new();
    from.read_to_string(&mut text).map_err(|error| Failure::Line(format!("standard input: {error}")))?;
    Ok(text)
}
