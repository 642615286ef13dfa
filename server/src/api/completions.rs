//! `/v1/completions`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Result};
use super::fields::Fields;
use super::json::json_response;
use super::params::{Caller, MOST_CHOICES, MOST_TOP_LOGPROBS, Params};
use super::prompts::{self, Text};
use super::replies::{Replies, Usage, aside, finite, token_text};
use super::{FINGERPRINT, format};
use crate::engine::{End, Event, Finish, Request, Scored};
use crate::grammars::Said;
use crate::served::Served;
use crate::sse::{self, Frames, Writer};
use crate::tools::held;
use crate::{random, unix_time};

/// OpenAI's default.
const MAX_TOKENS: u64 = 16;

struct Completion {
    prompts: Vec<Text>,
    params: Params,
    /// Replies to each prompt, of which the `n` best are answered.
    best_of: usize,
    format: Option<Said>,
    max_new: usize,
    logprobs: Option<usize>,
    echo: bool,
}

pub async fn completions(served: Arc<Served>, body: Value, caller: Caller) -> Result<Response> {
    let (completion, requests) = aside({
        let served = Arc::clone(&served);
        move || {
            let completion = Completion::read(&Fields::of_body(&body)?, &served)?;
            let requests = completion.requests(&served, &caller)?;
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
        let best_of = best_of(fields, &params)?;
        let format = format::read(fields, fields.object("response_format")?, true, served)?;
        let logprobs = fields.integer("logprobs", 0..=MOST_TOP_LOGPROBS)?;
        Ok(Completion {
            prompts: prompts::read(fields, "prompt", served)?,
            params,
            best_of,
            format,
            max_new: fields.integer("max_tokens", 0..=u64::from(u32::MAX))?.unwrap_or(MAX_TOKENS) as usize,
            logprobs: logprobs.map(|top| top as usize),
            echo: fields.bool("echo")?.unwrap_or(false),
        })
    }

    /// For each prompt, one after the other, its choices.
    fn requests(&self, served: &Served, caller: &Caller) -> Result<Vec<Request>> {
        let choices = self.prompts.iter().flat_map(|prompt| (0..self.best_of).map(move |i| (prompt, i)));
        let held = held(served, None, "", self.format.clone());
        let held = held.map_err(|error| ApiError::invalid(format!("{error}.")).param("grammar"))?;
        let request = |(prompt, i): (&Text, usize)| Request {
            max_new: self.max_new,
            // The best are known by their scores.
            logprobs: self.logprobs.or((self.best_of > self.params.n).then_some(0)),
            prompt_logprobs: self.echo && self.logprobs.is_some(),
            held: held.clone(),
            ..self.params.request(served, prompt.tokens.clone(), i, caller)
        };
        Ok(choices.map(request).collect())
    }
}

fn best_of(fields: &Fields<'_>, params: &Params) -> Result<usize> {
    let Some(item) = fields.get("best_of") else { return Ok(params.n) };
    let best_of = fields.integer("best_of", 1..=MOST_CHOICES)?.unwrap_or(1) as usize;
    match best_of {
        _ if best_of < params.n => Err(item.invalid("it is less than 'n'")),
        _ if best_of > params.n && params.stream => {
            Err(item.invalid("which answers are best is known at their end, so they cannot be streamed"))
        }
        _ => Ok(best_of),
    }
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
    /// For each choice, its tokens' log probabilities summed, and how many they are.
    scores: Vec<(f64, usize)>,
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
        let choices = completion.prompts.len() * completion.best_of;
        let (usage, offsets, scores) = (Usage::of_prompts(prompts), vec![0; choices], vec![(0.0, 0); choices]);
        Answer { id: random::id("cmpl-"), created: unix_time(), served, completion, usage, offsets, scores }
    }

    fn part(&mut self, index: usize, event: Event) -> Part {
        match event {
            Event::Prompt(scored) if self.completion.echo => self.echo(index, &scored),
            Event::Piece { text, scored } => {
                let (sum, count) = &mut self.scores[index];
                *sum += scored.iter().map(|one| f64::from(one.logprob)).sum::<f64>();
                *count += scored.len();
                let logprobs = self.completion.logprobs.map(|_| self.scores(index, &scored));
                Part { text, logprobs, finish: None }
            }
            Event::End(end) => self.end(&end),
            Event::Prompt(_) | Event::Embedding(_) | Event::Failed(_) => Part::default(),
        }
    }

    fn echo(&mut self, index: usize, scored: &[Scored]) -> Part {
        let prompt = &self.completion.prompts[index / self.completion.best_of];
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

    /// Of each prompt's choices the `n` whose tokens are the most probable on average, best first; all, in their order, where no more were
    /// made.
    fn best(&self, choices: Vec<Part>) -> Vec<Part> {
        let Completion { best_of, params, .. } = &self.completion;
        if *best_of == params.n {
            return choices;
        }
        let mean = |index: usize| {
            let (sum, count) = self.scores[index];
            sum / count.max(1) as f64
        };
        let mut choices: Vec<(usize, Part)> = choices.into_iter().enumerate().collect();
        for of_prompt in choices.chunks_mut(*best_of) {
            of_prompt.sort_by(|(a, _), (b, _)| mean(*b).total_cmp(&mean(*a)));
        }
        let kept = choices.into_iter().enumerate().filter(|(place, _)| place % best_of < params.n);
        kept.map(|(_, (_, part))| part).collect()
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
    let choices = answer.best(choices).into_iter().enumerate().map(|(i, choice)| choice.json(i)).collect();
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
