//! Reads a conversation out of a request's `instructions` and `input`.

use serde_json::Value;

use crate::api::error::{ApiError, Result};
use crate::api::fields::{Fields, Item};
use crate::api::messages::{arguments, content};
use crate::tools::{Call, Message};

pub fn messages(fields: &Fields<'_>) -> Result<Vec<Message>> {
    let item = fields.required("input")?;
    let mut messages = match item.value {
        Value::String(text) => vec![Message::User(text.clone())],
        Value::Array(_) => items(&item)?,
        _ => return Err(item.wrong("a string or an array")),
    };
    if let Some(instructions) = fields.str("instructions")? {
        match messages.first_mut() {
            // Chat formats have one system message at the beginning.
            Some(Message::System(own)) => *own = format!("{instructions}\n\n{own}"),
            _ => messages.insert(0, Message::System(instructions.to_owned())),
        }
    }
    Ok(messages)
}

fn items(input: &Item<'_>) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    for item in input.array()? {
        let fields = item.object()?;
        match fields.str("type")?.unwrap_or("message") {
            "message" => messages.push(message(&fields)?),
            "function_call" => add_call(&fields, &mut messages)?,
            "function_call_output" => messages.push(Message::Tool {
                id: fields.required("call_id")?.str()?.to_owned(),
                content: content(&fields.required("output")?)?,
            }),
            // What a model thought is not shown to it again.
            "reasoning" => {}
            other => {
                let kind = fields.required("type")?;
                let message = format!("'{}' is {other:?}, which this server does not support.", kind.path);
                return Err(ApiError::unsupported(&kind.path, message));
            }
        }
    }
    match messages.is_empty() {
        true => Err(input.invalid("there must be at least one message")),
        false => Ok(messages),
    }
}

fn message(fields: &Fields<'_>) -> Result<Message> {
    let role = fields.required("role")?;
    let content = content(&fields.required("content")?)?;
    match role.str()? {
        "system" | "developer" => Ok(Message::System(content)),
        "user" => Ok(Message::User(content)),
        "assistant" => Ok(Message::Assistant { content, calls: Vec::new() }),
        other => Err(role.invalid(format_args!("expected system, developer, user or assistant, got {other:?}"))),
    }
}

/// A call belongs to the assistant's turn that it follows.
fn add_call(fields: &Fields<'_>, messages: &mut Vec<Message>) -> Result<()> {
    let call = Call {
        id: fields.required("call_id")?.str()?.to_owned(),
        name: fields.required("name")?.str()?.to_owned(),
        arguments: arguments(&fields.required("arguments")?)?,
    };
    match messages.last_mut() {
        Some(Message::Assistant { calls, .. }) => calls.push(call),
        _ => messages.push(Message::Assistant { content: String::new(), calls: vec![call] }),
    }
    Ok(())
}
