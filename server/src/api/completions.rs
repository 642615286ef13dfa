//! `/v1/completions`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tcrt::prompt;

use super::FINGERPRINT;
use super::error::{ApiError, Result};
use super::fields::{Fields, Item};
use super::json::json_response;
use super::params::{Caller, MOST_TOP_LOGPROBS, Params};
use super::replies::{Replies, Usage, aside, check_prompt, finite, token_text};
use crate::engine::{End, Event, Finish, Request, Scored};
use crate::served::Served;
use crate::sse::{self, Frames, Writer};
use crate::{random, unix_time};

/// OpenAI's default.
const MAX_TOKENS: u64 = 16;

struct Completion {
    prompts: Vec<Text>,
    params: Params,
    max_new: usize,
    logprobs: Option<usize>,
    echo: bool,
}

/// A prompt, as tokens and as what it is a text of.
struct Text {
    tokens: Vec<u32>,
    text: String,
}

pub async fn completions(served: Arc<Served>, body: Value, caller: Caller) -> Result<Response> {
    let (completion, requests) = aside({
        let served = Arc::clone(&served);
        move || {
            let completion = Completion::read(&Fields::of_body(&body)?, &served)?;
            let requests = completion.requests(&served, &caller);
            Ok((completion, requests))
        }
    })
    .await?;
    let replies = Replies::ask(&served, requests)?;
    let (stream, show_usage) = (completion.params.stream, completion.params.include_usage);
    let answer = Answer::new(served, completion);
    match stream {
        true => Ok(sse::response(replies, Stream { answer, show_usage })),
        false => whole(replies, answer).await,
    }
}

impl Completion {
    fn read(fields: &Fields<'_>, served: &Served) -> Result<Completion> {
        let params = Params::read(fields, served)?;
        if fields.get("suffix").is_some_and(|item| item.value.as_str() != Some("")) {
            return Err(ApiError::unsupported("suffix", "'suffix' is not supported: models here only go on."));
        }
        let best_of = fields.integer("best_of", 1..=super::params::MOST_CHOICES)?;
        if best_of.is_some_and(|best_of| best_of != params.n as u64) {
            return Err(ApiError::unsupported("best_of", "'best_of' is not supported, other than equal to 'n'."));
        }
        let logprobs = fields.integer("logprobs", 0..=MOST_TOP_LOGPROBS)?;
        Ok(Completion {
            prompts: prompts(fields, served)?,
            params,
            max_new: fields.integer("max_tokens", 0..=u64::from(u32::MAX))?.unwrap_or(MAX_TOKENS) as usize,
            logprobs: logprobs.map(|top| top as usize),
            echo: fields.bool("echo")?.unwrap_or(false),
        })
    }

    /// For each prompt, one after the other, its choices.
    fn requests(&self, served: &Served, caller: &Caller) -> Vec<Request> {
        let choices = self.prompts.iter().flat_map(|prompt| (0..self.params.n).map(move |i| (prompt, i)));
        let request = |(prompt, i): (&Text, usize)| Request {
            max_new: self.max_new,
            logprobs: self.logprobs,
            prompt_logprobs: self.echo && self.logprobs.is_some(),
            ..self.params.request(served, prompt.tokens.clone(), i, caller)
        };
        choices.map(request).collect()
    }
}

/// A text, tokens, or an array of either.
fn prompts(fields: &Fields<'_>, served: &Served) -> Result<Vec<Text>> {
    let item = fields.required("prompt")?;
    let several = match item.value {
        Value::String(_) => false,
        Value::Array(values) if values.is_empty() => return Err(item.invalid("it is empty")),
        Value::Array(values) => !values[0].is_number(),
        _ => return Err(item.wrong("a string or an array")),
    };
    let prompts = match several {
        true => item.array()?.iter().map(|item| text(item, served)).collect::<Result<Vec<_>>>()?,
        false => vec![text(&item, served)?],
    };
    prompts.iter().try_for_each(|prompt| check_prompt(served, &prompt.tokens, "prompt"))?;
    Ok(prompts)
}

fn text(item: &Item<'_>, served: &Served) -> Result<Text> {
    if let Value::String(text) = item.value {
        let tokens = prompt::plain(&served.tokenizer, text);
        return Ok(Text { tokens, text: text.clone() });
    }
    let token = |item: &Item<'_>| {
        let id = item.value.as_u64().ok_or_else(|| item.wrong("a token id"))?;
        let id = u32::try_from(id).ok().filter(|id| (*id as usize) < served.vocab);
        id.ok_or_else(|| item.invalid("it is no token of this model"))
    };
    let tokens = item.array()?.iter().map(token).collect::<Result<Vec<u32>>>()?;
    let text = String::from_utf8_lossy(&served.tokenizer.decode_with(&tokens, false)).into_owned();
    Ok(Text { tokens, text })
}

/// The answer as it grows.
struct Answer {
    id: String,
    created: u64,
    served: Arc<Served>,
    completion: Completion,
    usage: Usage,
    /// For each choice, the characters of its text so far.
    offsets: Vec<usize>,
}

/// A choice, or what one event adds to it.
#[derive(Default)]
struct Part {
    text: String,
    logprobs: Option<Logprobs>,
    finish: Option<&'static str>,
}

#[derive(Default)]
struct Logprobs {
    tokens: Vec<Value>,
    logprobs: Vec<Value>,
    top: Vec<Value>,
    offsets: Vec<Value>,
}

impl Answer {
    fn new(served: Arc<Served>, completion: Completion) -> Answer {
        let prompts = completion.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
        let choices = completion.prompts.len() * completion.params.n;
        let (usage, offsets) = (Usage::of_prompts(prompts), vec![0; choices]);
        Answer { id: random::id("cmpl-"), created: unix_time(), served, completion, usage, offsets }
    }

    fn part(&mut self, index: usize, event: Event) -> Part {
        match event {
            Event::Prompt(scored) if self.completion.echo => self.echo(index, &scored),
            Event::Piece { text, scored } => {
                let logprobs = self.completion.logprobs.map(|_| self.scores(index, &scored));
                Part { text, logprobs, finish: None }
            }
            Event::End(end) => self.end(&end),
            Event::Prompt(_) | Event::Failed(_) => Part::default(),
        }
    }

    fn echo(&mut self, index: usize, scored: &[Scored]) -> Part {
        let prompt = &self.completion.prompts[index / self.completion.params.n];
        let (first, text) = (prompt.tokens[0], prompt.text.clone());
        let logprobs = self.completion.logprobs.map(|_| {
            let mut scores = Logprobs::default();
            // Nothing comes before the first token, so the model says nothing of it.
            self.add(index, &mut scores, token_text(&self.served, first), Value::Null, Value::Null);
            let rest = self.scores(index, scored);
            scores.append(rest);
            scores
        });
        Part { text, logprobs, finish: None }
    }

    fn scores(&mut self, index: usize, scored: &[Scored]) -> Logprobs {
        let mut scores = Logprobs::default();
        for one in scored {
            let text = self.token_name(one.token);
            let mut top: Map<String, Value> = Map::new();
            // Several tokens may have the same text: the best of them stands for it.
            for (token, logprob) in one.top.iter().chain([&(one.token, one.logprob)]) {
                top.entry(self.token_name(*token)).or_insert(finite(*logprob).into());
            }
            let top = if self.completion.logprobs == Some(0) { Value::Null } else { Value::Object(top) };
            self.add(index, &mut scores, text, finite(one.logprob).into(), top);
        }
        scores
    }

    /// As OpenAI writes tokens: bytes that are no text by their values.
    fn token_name(&self, token: u32) -> String {
        let bytes = super::replies::token_bytes(&self.served, token);
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                format!("bytes:{hex}")
            }
        }
    }

    fn add(&mut self, index: usize, scores: &mut Logprobs, token: String, logprob: Value, top: Value) {
        scores.offsets.push(self.offsets[index].into());
        self.offsets[index] += token.chars().count();
        scores.tokens.push(token.into());
        scores.logprobs.push(logprob);
        scores.top.push(top);
    }

    fn end(&mut self, end: &End) -> Part {
        self.usage.add(end);
        let finish = match end.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
        };
        Part { finish: Some(finish), ..Part::default() }
    }

    fn json(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.served.id,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        })
    }
}

impl Logprobs {
    fn append(&mut self, other: Logprobs) {
        self.tokens.extend(other.tokens);
        self.logprobs.extend(other.logprobs);
        self.top.extend(other.top);
        self.offsets.extend(other.offsets);
    }

    fn json(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.logprobs,
            "top_logprobs": self.top,
            "text_offset": self.offsets,
        })
    }
}

impl Part {
    fn add(&mut self, other: Part) {
        self.text += &other.text;
        if let Some(more) = other.logprobs {
            self.logprobs.get_or_insert_default().append(more);
        }
        self.finish = other.finish.or(self.finish);
    }

    fn json(self, index: usize) -> Value {
        let logprobs = self.logprobs.map(Logprobs::json);
        json!({ "text": self.text, "index": index, "logprobs": logprobs, "finish_reason": self.finish })
    }
}

async fn whole(mut replies: Replies, mut answer: Answer) -> Result<Response> {
    let mut choices: Vec<Part> = answer.offsets.iter().map(|_| Part::default()).collect();
    while let Some((index, event)) = replies.next().await? {
        let part = answer.part(index, event);
        choices[index].add(part);
    }
    let choices = choices.into_iter().enumerate().map(|(i, choice)| choice.json(i)).collect();
    let mut value = answer.json(choices);
    value["usage"] = answer.usage.json();
    Ok(json_response(StatusCode::OK, &value))
}

struct Stream {
    answer: Answer,
    show_usage: bool,
}

impl Writer for Stream {
    fn begin(&mut self, _: &mut Frames) {}

    fn event(&mut self, index: usize, event: Event, out: &mut Frames) {
        let part = self.answer.part(index, event);
        if part.text.is_empty() && part.logprobs.is_none() && part.finish.is_none() {
            return;
        }
        let mut value = self.answer.json(json!([part.json(index)]));
        if self.show_usage {
            value["usage"] = Value::Null;
        }
        out.data(&value);
    }

    fn end(&mut self, out: &mut Frames) {
        if self.show_usage {
            let mut value = self.answer.json(json!([]));
            value["usage"] = self.answer.usage.json();
            out.data(&value);
        }
        out.text("[DONE]");
    }

    fn error(&mut self, error: ApiError, out: &mut Frames) {
        out.data(&error.body());
    }
}
