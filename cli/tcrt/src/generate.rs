//! What `run` and `chat` share: sampling options from arguments, a reply streamed to stdout, its figures to stderr.

use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use tcrt::sampling::SamplerOptions;
use tcrt::tokenizer::Tokenizer;
use tcrt::{Event, Finish, GenerateOptions, Generation, Session};

use crate::args::Sampling;
use crate::output::{Failure, Result, show};

pub fn options(args: &Sampling, stop_tokens: Vec<u32>, chat_stops: &[String]) -> GenerateOptions {
    let sampling = SamplerOptions {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        seed: args.seed.unwrap_or_else(clock_seed),
        logit_bias: args.logit_bias.clone(),
        ..SamplerOptions::default()
    };
    let stop_strings = args.stop.iter().chain(chat_stops).cloned().collect();
    GenerateOptions { max_new: args.max, sampling, stop_tokens, stop_strings, cancel: None }
}

fn clock_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Streams the reply to `prompt`, and returns it with its text.
pub fn stream(
    session: &mut Session,
    prompt: &[u32],
    tokenizer: &Tokenizer,
    options: &GenerateOptions,
) -> Result<(Generation, String)> {
    let mut text = String::new();
    let mut closed = None;
    let generation = session.generate(prompt, Some(tokenizer), options, |event| {
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
    format!(
        "[{} prompt tokens at {}/s, {} new tokens at {}/s, load {:.0} ms, first token {:.0} ms{end}]",
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
