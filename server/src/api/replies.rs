//! From a request to the engine's events, and from those to an answer.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::error::{ApiError, Result};
use crate::engine::{End, Event, Finish, Refused, Request, Scored};
use crate::served::Served;
use crate::tools::{Call, Parser, Part, Tools};

/// The events of all replies to one HTTP request.
pub struct Replies {
    events: UnboundedReceiver<(usize, Event)>,
    left: usize,
}

impl Replies {
    pub fn ask(served: &Served, requests: Vec<Request>) -> Result<Replies> {
        let (left, most) = (requests.len(), served.engine.most());
        if left > most {
            let message = format!("The request asks for {left} replies; this server runs and queues at most {most}.");
            return Err(ApiError::invalid(message).param("n"));
        }
        match served.engine.submit(requests) {
            Ok(events) => Ok(Replies { events, left }),
            Err(Refused::Busy) => Err(ApiError::busy(served.engine.metrics.mean_duration())),
            Err(Refused::Gone) => Err(ApiError::gone()),
        }
    }

    /// The next event with the number of its reply, until all have ended.
    pub async fn next(&mut self) -> Result<Option<(usize, Event)>> {
        if self.left == 0 {
            return Ok(None);
        }
        match self.events.recv().await {
            None => Err(ApiError::gone()),
            Some((_, Event::Failed(failure))) => Err(failure.into()),
            Some((index, event)) => {
                self.left -= usize::from(matches!(event, Event::End(_)));
                Ok(Some((index, event)))
            }
        }
    }
}

/// Work on texts as long as a request may be goes where it does not hold up the other requests.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ApiError::server("A fault of the server ended the work on this request.")))
}

/// How many tokens a reply may have, where the client says or does not.
pub fn check_prompt(served: &Served, prompt: &[u32], param: &str) -> Result<()> {
    let (len, context) = (prompt.len(), served.context);
    if len == 0 {
        return Err(ApiError::invalid(format!("'{param}' is empty: there is nothing to go on from.")).param(param));
    }
    if len > context {
        let message =
            format!("This model's maximum context length is {context} tokens; '{param}' results in {len} tokens.");
        return Err(ApiError::invalid(message).param(param).code("context_length_exceeded"));
    }
    Ok(())
}

/// A reply's text and calls as they come.
pub struct Answer {
    parser: Option<Parser>,
    served: Arc<Served>,
    pub calls: usize,
}

pub enum Delta {
    Text(String),
    Call(Call),
}

impl Answer {
    /// `forced` is what of a call the prompt has begun already.
    pub fn new(served: &Arc<Served>, tools: Option<&Tools>, forced: &str) -> Answer {
        let parser = tools.map(|tools| Parser::new(served.tools, tools.names(), tools.parallel));
        let mut answer = Answer { parser, served: Arc::clone(served), calls: 0 };
        // It is the beginning of markup, so nothing comes out of it yet.
        answer.push(forced.to_owned());
        answer
    }

    pub fn push(&mut self, text: String) -> Vec<Delta> {
        match &mut self.parser {
            None if text.is_empty() => Vec::new(),
            None => vec![Delta::Text(text)],
            Some(parser) => {
                let parts = parser.push(&text);
                self.deltas(parts)
            }
        }
    }

    pub fn finish(&mut self) -> Vec<Delta> {
        let parts = self.parser.as_mut().map(Parser::finish).unwrap_or_default();
        self.deltas(parts)
    }

    fn deltas(&mut self, parts: Vec<Part>) -> Vec<Delta> {
        let delta = |part| match part {
            Part::Text(text) => Delta::Text(text),
            Part::Call { name, arguments } => {
                self.calls += 1;
                Delta::Call(Call { id: self.served.tools.call_id(), name, arguments })
            }
        };
        parts.into_iter().map(delta).collect()
    }

    pub fn finish_reason(&self, end: &End) -> &'static str {
        match end.finish {
            Finish::Stop if self.calls > 0 => "tool_calls",
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// What a request has cost.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub prompt: usize,
    pub reused: usize,
    pub new: usize,
}

impl Usage {
    pub fn of_prompts(tokens: usize) -> Usage {
        Usage { prompt: tokens, ..Usage::default() }
    }

    pub fn add(&mut self, end: &End) {
        self.new += end.new_tokens;
        // Choices of one prompt share it; what the first one found is what the request was spared.
        self.reused = match self.reused {
            0 => end.reused_tokens,
            reused => reused.min(end.reused_tokens),
        };
    }

    pub fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.new,
            "total_tokens": self.prompt + self.new,
            "prompt_tokens_details": { "cached_tokens": self.reused },
        })
    }
}

/// What a token is as text; bytes that are no text of their own are replaced.
pub fn token_text(served: &Served, token: u32) -> String {
    String::from_utf8_lossy(token_bytes(served, token)).into_owned()
}

pub fn token_bytes(served: &Served, token: u32) -> &[u8] {
    served.tokenizer.token_bytes(token).unwrap_or_default()
}

/// Scores as the chat and responses endpoints show them.
pub fn scores_json(served: &Served, scored: &[Scored]) -> Value {
    let entry = |token: u32, logprob: f32| {
        json!({
            "token": token_text(served, token),
            "logprob": finite(logprob),
            "bytes": token_bytes(served, token),
        })
    };
    let scored = scored.iter().map(|Scored { token, logprob, top }| {
        let mut value = entry(*token, *logprob);
        value["top_logprobs"] = top.iter().map(|(token, logprob)| entry(*token, *logprob)).collect();
        value
    });
    scored.collect()
}

/// JSON knows no infinity; OpenAI writes -9999 for what has no probability.
pub fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

pub fn not_found(message: String) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
}
