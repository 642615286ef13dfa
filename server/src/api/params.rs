//! Parameters that the endpoints have in common: how a reply is sampled and what ends it.

use std::time::Instant;

use tcrt::sampling::SamplerOptions;

use super::error::{ApiError, Result};
use super::fields::{Fields, Item};
use crate::engine::Request;
use crate::served::Served;

/// Strings that may end a reply.
const MOST_STOPS: usize = 16;
/// OpenAI's limit, and what a list of candidates should not exceed.
pub const MOST_CHOICES: u64 = 128;
pub const MOST_TOP_LOGPROBS: u64 = 20;

/// What of a request does not depend on its prompt.
#[derive(Default)]
pub struct Params {
    pub sampling: SamplerOptions,
    pub stop_strings: Vec<String>,
    pub n: usize,
    pub stream: bool,
    pub include_usage: bool,
    ignore_eos: bool,
}

impl Params {
    pub fn read(fields: &Fields<'_>, served: &Served) -> Result<Params> {
        let stream = fields.bool("stream")?.unwrap_or(false);
        let stream_options = fields.object("stream_options")?;
        let include_usage = stream_options.map_or(Ok(None), |options| options.bool("include_usage"))?;
        if include_usage.is_some() && !stream {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(ApiError::invalid(message).param("stream_options"));
        }
        Ok(Params {
            sampling: sampling(fields, served)?,
            stop_strings: stop(fields)?,
            n: fields.integer("n", 1..=MOST_CHOICES)?.unwrap_or(1) as usize,
            stream,
            include_usage: include_usage.unwrap_or(false),
            ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
        })
    }

    /// The request for choice number `index`, which has random numbers of its own.
    pub fn request(&self, served: &Served, prompt: Vec<u32>, index: usize, caller: &Caller) -> Request {
        let seed = self.sampling.seed.wrapping_add(index as u64);
        Request {
            prompt,
            max_new: usize::MAX,
            sampling: SamplerOptions { seed, ..self.sampling.clone() },
            stop_tokens: if self.ignore_eos { Vec::new() } else { served.stop_tokens.clone() },
            stop_strings: self.stop_strings.clone(),
            shown: Vec::new(),
            held: None,
            logprobs: None,
            prompt_logprobs: false,
            pooling: None,
            deadline: caller.deadline,
            flow: caller.flow,
        }
    }
}

/// Who asks, and until when.
#[derive(Clone, Copy)]
pub struct Caller {
    pub flow: u64,
    pub deadline: Option<Instant>,
}

fn sampling(fields: &Fields<'_>, served: &Served) -> Result<SamplerOptions> {
    let default = SamplerOptions::default();
    let number = |field, range, default| fields.number(field, range).map(|number| number.unwrap_or(default));
    Ok(SamplerOptions {
        temperature: number("temperature", 0.0..=2.0, default.temperature)?,
        top_p: number("top_p", 0.0..=1.0, default.top_p)?,
        top_k: fields.integer("top_k", 0..=u64::from(u32::MAX))?.unwrap_or(0) as usize,
        min_p: number("min_p", 0.0..=1.0, default.min_p)?,
        frequency_penalty: number("frequency_penalty", -2.0..=2.0, default.frequency_penalty)?,
        presence_penalty: number("presence_penalty", -2.0..=2.0, default.presence_penalty)?,
        repetition_penalty: number("repetition_penalty", 0.01..=10.0, default.repetition_penalty)?,
        seed: seed(fields)?,
        logit_bias: logit_bias(fields, served)?,
        ..default
    })
}

/// Any 64-bit integer, as OpenAI has it.
fn seed(fields: &Fields<'_>) -> Result<u64> {
    let Some(item) = fields.get("seed") else { return Ok(crate::random::number()) };
    let signed = item.value.as_i64().map(i64::cast_unsigned);
    signed.or(item.value.as_u64()).ok_or_else(|| match item.value.is_number() {
        true => item.invalid("expected a 64-bit integer"),
        false => item.wrong("an integer"),
    })
}

fn logit_bias(fields: &Fields<'_>, served: &Served) -> Result<Vec<(u32, f32)>> {
    let Some(map) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let entry = |(id, bias): (&str, Item<'_>)| {
        let token = id.parse().ok().filter(|id: &u32| (*id as usize) < served.vocab);
        let token = token.ok_or_else(|| bias.invalid(format_args!("{id:?} is no token of this model")))?;
        Ok((token, bias.number(&(-100.0..=100.0))?))
    };
    map.entries().map(entry).collect()
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>> {
    let Some(item) = fields.get("stop") else { return Ok(Vec::new()) };
    let items = match item.value {
        serde_json::Value::String(_) => vec![Item { value: item.value, path: item.path.clone() }],
        serde_json::Value::Array(_) => item.array()?,
        _ => return Err(item.wrong("a string or an array of strings")),
    };
    if items.len() > MOST_STOPS {
        return Err(item.invalid(format_args!("there may be at most {MOST_STOPS}")));
    }
    let text = |item: &Item<'_>| match item.str()? {
        "" => Err(item.invalid("a stop string is empty")),
        text => Ok(text.to_owned()),
    };
    items.iter().map(text).collect()
}
