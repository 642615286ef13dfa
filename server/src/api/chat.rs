//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::{ApiError, Result};
use super::fields::Fields;
use super::json::json_response;
use super::params::{Caller, MOST_TOP_LOGPROBS, Params};
use super::replies::{Answer, Delta, Replies, Usage, aside, check_prompt, scores_json};
use super::{FINGERPRINT, format, messages};
use crate::engine::{Event, Held, Request, Scored};
use crate::grammars::Said;
use crate::served::Served;
use crate::sse::{self, Frames, Writer};
use crate::tools::{Call, Message, Prompt, Tools, conversation, held};
use crate::{random, unix_time};

struct Chat {
    messages: Vec<Message>,
    tools: Option<Tools>,
    format: Option<Said>,
    params: Params,
    max_new: usize,
    logprobs: Option<usize>,
}

pub async fn chat(served: Arc<Served>, body: Value, caller: Caller) -> Result<Response> {
    let (requests, answers, usage, chat) = aside({
        let served = Arc::clone(&served);
        move || {
            let chat = Chat::read(&Fields::of_body(&body)?, &served)?;
            let (requests, answers, usage) = chat.prepare(&served, &caller)?;
            Ok((requests, answers, usage, chat))
        }
    })
    .await?;
    let replies = Replies::ask(&served, requests)?;
    let head = Head { id: random::id("chatcmpl-"), created: unix_time(), served };
    if chat.params.stream {
        let writer = Stream { head, answers, usage, show_usage: chat.params.include_usage };
        return Ok(sse::response(replies, writer));
    }
    whole(replies, head, answers, usage, chat.logprobs.is_some()).await
}

impl Chat {
    fn read(fields: &Fields<'_>, served: &Served) -> Result<Chat> {
        let most = fields.integer("max_completion_tokens", 1..=u64::from(u32::MAX))?;
        let most = most.or(fields.integer("max_tokens", 1..=u64::from(u32::MAX))?);
        Ok(Chat {
            messages: messages::messages(fields)?,
            tools: messages::tools(fields, true, served)?,
            format: format::read(fields, fields.object("response_format")?, true, served)?,
            params: Params::read(fields, served)?,
            max_new: most.map_or(usize::MAX, |most| most as usize),
            logprobs: logprobs(fields)?,
        })
    }

    fn prepare(&self, served: &Arc<Served>, caller: &Caller) -> Result<(Vec<Request>, Vec<Answer>, Usage)> {
        let prompt = conversation(served, &self.messages, self.tools.as_ref());
        let Prompt { tokens, forced } = prompt.map_err(|e| ApiError::invalid(format!("{e}.")).param("messages"))?;
        check_prompt(served, &tokens, "messages")?;
        let held = held(served, self.tools.as_ref(), &forced, self.format.clone());
        let held = held.map_err(|error| ApiError::invalid(format!("{error}.")).param("grammar"))?;
        let answer = |_| Answer::new(served, self.tools.as_ref(), &forced);
        let answers = (0..self.params.n).map(answer).collect();
        let usage = Usage::of_prompts(tokens.len());
        let requests = (0..self.params.n).map(|i| self.request(served, &tokens, held.clone(), i, caller)).collect();
        Ok((requests, answers, usage))
    }

    fn request(&self, served: &Served, prompt: &[u32], held: Option<Held>, index: usize, caller: &Caller) -> Request {
        let mut request = self.params.request(served, prompt.to_vec(), index, caller);
        request.held = held;
        request.max_new = self.max_new;
        request.logprobs = self.logprobs;
        let stops = served.chat.iter().flat_map(|chat| chat.stop_strings());
        request.stop_strings.extend(stops.cloned());
        if self.tools.is_some() {
            request.shown = served.tools.shown(&served.tokenizer);
        }
        request
    }
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>> {
    let wanted = fields.bool("logprobs")?.unwrap_or(false);
    match fields.integer("top_logprobs", 0..=MOST_TOP_LOGPROBS)? {
        Some(_) if !wanted => {
            let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
            Err(ApiError::invalid(message).param("top_logprobs"))
        }
        top => Ok(wanted.then_some(top.unwrap_or(0) as usize)),
    }
}

/// What every answer and every part of one says about itself.
struct Head {
    id: String,
    created: u64,
    served: Arc<Served>,
}

impl Head {
    fn json(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.served.id,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        })
    }
}

fn call_json(call: &Call) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } })
}

#[derive(Default)]
struct Whole {
    text: String,
    calls: Vec<Value>,
    scored: Vec<Scored>,
    finish: &'static str,
}

impl Whole {
    fn add(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Text(text) => self.text += &text,
                Delta::Call(call) => self.calls.push(call_json(&call)),
            }
        }
    }

    fn json(self, index: usize, served: &Served, scores: bool) -> Value {
        let content = if self.text.is_empty() && !self.calls.is_empty() { Value::Null } else { self.text.into() };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into();
        }
        let logprobs = scores.then(|| json!({ "content": scores_json(served, &self.scored), "refusal": null }));
        json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": self.finish })
    }
}

async fn whole(
    mut replies: Replies,
    head: Head,
    mut answers: Vec<Answer>,
    mut usage: Usage,
    scores: bool,
) -> Result<Response> {
    let mut choices: Vec<Whole> = answers.iter().map(|_| Whole::default()).collect();
    while let Some((index, event)) = replies.next().await? {
        let (answer, choice) = (&mut answers[index], &mut choices[index]);
        match event {
            Event::Piece { text, scored } => {
                choice.add(answer.push(text));
                choice.scored.extend(scored);
            }
            Event::End(end) => {
                choice.add(answer.finish());
                choice.finish = answer.finish_reason(&end);
                usage.add(&end);
            }
            Event::Prompt(_) | Event::Embedding(_) | Event::Failed(_) => {}
        }
    }
    let choices = choices.into_iter().enumerate().map(|(i, choice)| choice.json(i, &head.served, scores)).collect();
    let mut value = head.json("chat.completion", choices);
    value["usage"] = usage.json();
    Ok(json_response(StatusCode::OK, &value).into_response())
}

/// The parts of a streamed answer.
struct Stream {
    head: Head,
    answers: Vec<Answer>,
    usage: Usage,
    show_usage: bool,
}

impl Stream {
    fn chunk(&self, choices: Value, out: &mut Frames) {
        let mut value = self.head.json("chat.completion.chunk", choices);
        if self.show_usage {
            value["usage"] = Value::Null;
        }
        out.data(&value);
    }

    fn delta(&self, index: usize, delta: Value, scored: &[Scored], out: &mut Frames) {
        let scores = || json!({ "content": scores_json(&self.head.served, scored), "refusal": null });
        let logprobs = (!scored.is_empty()).then(scores);
        let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null });
        self.chunk(json!([choice]), out);
    }

    /// Scores go with the first of the deltas, or alone where their text is held back.
    fn deltas(&self, index: usize, deltas: Vec<Delta>, mut scored: &[Scored], out: &mut Frames) {
        let called = deltas.iter().filter(|delta| matches!(delta, Delta::Call(_))).count();
        let mut call_index = self.answers[index].calls - called;
        if deltas.is_empty() && !scored.is_empty() {
            self.delta(index, json!({ "content": "" }), scored, out);
        }
        for delta in deltas {
            let delta = match delta {
                Delta::Text(text) => json!({ "content": text }),
                Delta::Call(call) => {
                    let mut call = call_json(&call);
                    call["index"] = call_index.into();
                    call_index += 1;
                    json!({ "tool_calls": [call] })
                }
            };
            self.delta(index, delta, std::mem::take(&mut scored), out);
        }
    }
}

impl Writer for Stream {
    fn begin(&mut self, out: &mut Frames) {
        for index in 0..self.answers.len() {
            self.delta(index, json!({ "role": "assistant", "content": "" }), &[], out);
        }
    }

    fn event(&mut self, index: usize, event: Event, out: &mut Frames) {
        match event {
            Event::Piece { text, scored } => {
                let deltas = self.answers[index].push(text);
                self.deltas(index, deltas, &scored, out);
            }
            Event::End(end) => {
                let deltas = self.answers[index].finish();
                self.deltas(index, deltas, &[], out);
                let finish = self.answers[index].finish_reason(&end);
                let choice = json!({ "index": index, "delta": {}, "logprobs": null, "finish_reason": finish });
                self.chunk(json!([choice]), out);
                self.usage.add(&end);
            }
            Event::Prompt(_) | Event::Embedding(_) | Event::Failed(_) => {}
        }
    }

    fn end(&mut self, out: &mut Frames) {
        if self.show_usage {
            let mut value = self.head.json("chat.completion.chunk", json!([]));
            value["usage"] = self.usage.json();
            out.data(&value);
        }
        out.text("[DONE]");
    }

    fn error(&mut self, error: ApiError, out: &mut Frames) {
        out.data(&error.body());
    }
}
