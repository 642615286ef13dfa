//! `/v1/responses`. Nothing is stored: a conversation comes whole with every request.

mod input;
mod output;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::error::{ApiError, Result};
use super::fields::Fields;
use super::json::json_response;
use super::params::{Caller, MOST_TOP_LOGPROBS, Params};
use super::replies::{Answer, Replies, Usage, aside, check_prompt};
use super::{format, messages};
use crate::engine::Request;
use crate::grammars::Said;
use crate::served::Served;
use crate::sse::{self, Frames, Writer};
use crate::tools::{Message, Prompt, Tools, conversation, held};
use crate::{random, unix_time};
use output::Output;

struct Asked {
    messages: Vec<Message>,
    tools: Option<Tools>,
    format: Option<Said>,
    params: Params,
    max_new: Option<u64>,
    logprobs: Option<usize>,
    /// What the answer repeats.
    repeated: Value,
}

pub async fn responses(served: Arc<Served>, body: Value, caller: Caller) -> Result<Response> {
    let (asked, request, answer) = aside({
        let served = Arc::clone(&served);
        move || {
            let asked = Asked::read(&Fields::of_body(&body)?, &served)?;
            let (request, answer) = asked.prepare(&served, &caller)?;
            Ok((asked, request, answer))
        }
    })
    .await?;
    let usage = Usage::of_prompts(request.prompt.len());
    let mut replies = Replies::ask(&served, vec![request])?;
    let mut output = Output::new(served, answer, asked.repeated, usage);
    if asked.params.stream {
        return Ok(sse::response(replies, output));
    }
    // The same events, of which only the last one's response is wanted.
    let mut frames = Frames::default();
    while let Some((index, event)) = replies.next().await? {
        output.event(index, event, &mut frames);
        frames = Frames::default();
    }
    Ok(json_response(StatusCode::OK, &output.response()))
}

impl Asked {
    fn read(fields: &Fields<'_>, served: &Served) -> Result<Asked> {
        refuse(fields)?;
        let format = fields.object("text")?.map_or(Ok(None), |text| text.object("format"))?;
        let format = format::read(fields, format, false, served)?;
        let tools = messages::tools(fields, false, served)?;
        let max_new = fields.integer("max_output_tokens", 1..=u64::from(u32::MAX))?;
        let params = Params::read(fields, served)?;
        Ok(Asked {
            messages: input::messages(fields)?,
            logprobs: logprobs(fields)?,
            repeated: repeated(fields, served, tools.as_ref(), &params, max_new),
            tools,
            format,
            params,
            max_new,
        })
    }

    fn prepare(&self, served: &Arc<Served>, caller: &Caller) -> Result<(Request, Answer)> {
        let prompt = conversation(served, &self.messages, self.tools.as_ref());
        let Prompt { tokens, forced } = prompt.map_err(|e| ApiError::invalid(format!("{e}.")).param("input"))?;
        check_prompt(served, &tokens, "input")?;
        let mut request = self.params.request(served, tokens, 0, caller);
        let held = held(served, self.tools.as_ref(), &forced, self.format.clone());
        request.held = held.map_err(|error| ApiError::invalid(format!("{error}.")).param("grammar"))?;
        request.max_new = self.max_new.map_or(usize::MAX, |most| most as usize);
        request.logprobs = self.logprobs;
        request.stop_strings.extend(served.chat.iter().flat_map(|chat| chat.stop_strings()).cloned());
        if self.tools.is_some() {
            request.shown = served.tools.shown(&served.tokenizer);
        }
        Ok((request, Answer::new(served, self.tools.as_ref(), &forced)))
    }
}

/// What needs a store, or more than one answer.
fn refuse(fields: &Fields<'_>) -> Result<()> {
    for param in ["previous_response_id", "conversation", "prompt"] {
        if fields.get(param).is_some() {
            let message =
                format!("'{param}' is not supported: this server stores nothing. Send the whole conversation.");
            return Err(ApiError::unsupported(param, message));
        }
    }
    if fields.bool("background")? == Some(true) {
        return Err(ApiError::unsupported("background", "'background' is not supported: this server stores nothing."));
    }
    Ok(())
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>> {
    let mut wanted = false;
    for item in fields.array("include")?.unwrap_or_default() {
        wanted |= item.str()? == "message.output_text.logprobs";
    }
    let top = fields.integer("top_logprobs", 0..=MOST_TOP_LOGPROBS)?;
    Ok((wanted || top.is_some()).then_some(top.unwrap_or(0) as usize))
}

fn repeated(
    fields: &Fields<'_>,
    served: &Served,
    tools: Option<&Tools>,
    params: &Params,
    max_new: Option<u64>,
) -> Value {
    let given = |field: &str, default: Value| fields.get(field).map_or(default, |item| item.value.clone());
    json!({
        "id": random::id("resp_"),
        "object": "response",
        "created_at": unix_time(),
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": given("instructions", Value::Null),
        "max_output_tokens": max_new,
        "metadata": given("metadata", json!({})),
        "model": served.id,
        "output": [],
        "parallel_tool_calls": tools.is_none_or(|tools| tools.parallel),
        "previous_response_id": null,
        "reasoning": { "effort": null, "summary": null },
        "store": false,
        "temperature": params.sampling.temperature,
        "text": given("text", json!({ "format": { "type": "text" } })),
        "tool_choice": given("tool_choice", "auto".into()),
        "tools": given("tools", json!([])),
        "top_p": params.sampling.top_p,
        "truncation": "disabled",
        "usage": null,
        "user": given("user", Value::Null),
    })
}
