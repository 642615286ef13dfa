//! Generation options from arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use tcrt::GenerateOptions;
use tcrt::grammar::Grammar;
use tcrt::sampling::SamplerOptions;

use crate::args::Sampling;
use crate::output::{Failure, Result};

/// As the arguments say; where they set no limit to a reply, there is none.
pub fn generation(args: &Sampling, stop_tokens: Vec<u32>, chat_stops: &[String]) -> Result<GenerateOptions> {
    Ok(GenerateOptions {
        max_new: args.max.unwrap_or(usize::MAX),
        sampling: sampler(args),
        stop_tokens,
        stop_strings: args.stop.iter().chain(chat_stops).filter(|stop| !stop.is_empty()).cloned().collect(),
        grammar: grammar(args)?,
        cancel: None,
    })
}

pub fn sampler(args: &Sampling) -> SamplerOptions {
    SamplerOptions {
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
    }
}

/// The form that the reply must have, if any.
pub fn grammar(args: &Sampling) -> Result<Option<Grammar>> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(match (given(&args.json_schema), given(&args.grammar)) {
        (Some(schema), _) => Some(Grammar::json_schema(&text_or_file(&schema, "{")?)?),
        (_, Some(grammar)) => Some(Grammar::gbnf(&text_or_file(&grammar, "root")?)?),
        _ => None,
    })
}

/// What begins as the text itself would is the text; anything else is the name of a file with it.
fn text_or_file(given: &str, begins: &str) -> Result<String> {
    if given.trim_start().starts_with(begins) && (given.contains("::=") || begins == "{") {
        return Ok(given.into());
    }
    std::fs::read_to_string(given).map_err(|error| Failure::Line(format!("{given}: {error}")))
}

fn clock_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
