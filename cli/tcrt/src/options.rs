//! Generation options from arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use tcrt::GenerateOptions;
use tcrt::sampling::SamplerOptions;

use crate::args::Sampling;

pub fn generation(args: &Sampling, stop_tokens: Vec<u32>, chat_stops: &[String]) -> GenerateOptions {
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
