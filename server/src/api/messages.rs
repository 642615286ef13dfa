//! Reads conversations and functions out of chat requests.

use serde_json::Value;

use super::error::{ApiError, Result};
use super::fields::{Fields, Item};
use super::format::{arguments_schema, json_of};
use crate::served::Served;
use crate::tools::{Call, Choice, Message, Tool, Tools};

pub fn messages(fields: &Fields<'_>) -> Result<Vec<Message>> {
    let item = fields.required("messages")?;
    let messages = item.array()?;
    if messages.is_empty() {
        return Err(item.invalid("there must be at least one message"));
    }
    messages.iter().map(message).collect()
}

fn message(item: &Item<'_>) -> Result<Message> {
    let fields = item.object()?;
    let role = fields.required("role")?;
    match role.str()? {
        "system" | "developer" => Ok(Message::System(content(&fields.required("content")?)?)),
        "user" => Ok(Message::User(content(&fields.required("content")?)?)),
        "assistant" => assistant(&fields),
        "tool" => Ok(Message::Tool {
            id: fields.required("tool_call_id")?.str()?.to_owned(),
            content: content(&fields.required("content")?)?,
        }),
        other => Err(role.invalid(format_args!("expected system, developer, user, assistant or tool, got {other:?}"))),
    }
}

fn assistant(fields: &Fields<'_>) -> Result<Message> {
    let said = fields.get("content").map(|item| content(&item)).transpose()?;
    let calls = fields.array("tool_calls")?.unwrap_or_default();
    if said.is_none() && calls.is_empty() {
        return Err(fields.required("content").err().unwrap_or_else(|| ApiError::invalid("an empty message")));
    }
    let calls = calls.iter().map(call).collect::<Result<_>>()?;
    Ok(Message::Assistant { content: said.unwrap_or_default(), calls })
}

fn call(item: &Item<'_>) -> Result<Call> {
    let fields = item.object()?;
    let function = fields.required("function")?.object()?;
    Ok(Call {
        id: fields.required("id")?.str()?.to_owned(),
        name: function.required("name")?.str()?.to_owned(),
        arguments: arguments(&function.required("arguments")?)?,
    })
}

/// A string that holds a JSON object; models that called without arguments may have an empty one.
pub fn arguments(item: &Item<'_>) -> Result<String> {
    match item.str()? {
        text if text.trim().is_empty() => Ok("{}".to_owned()),
        text => match serde_json::from_str(text) {
            Ok(Value::Object(_)) => Ok(text.to_owned()),
            _ => Err(item.invalid("expected a JSON object in a string")),
        },
    }
}

/// A string, or parts of which each is text.
pub fn content(item: &Item<'_>) -> Result<String> {
    match item.value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) => item.array()?.iter().map(part).collect(),
        _ => Err(item.wrong("a string or an array of parts")),
    }
}

fn part(item: &Item<'_>) -> Result<String> {
    let fields = item.object()?;
    let kind = fields.required("type")?;
    match kind.str()? {
        "text" | "input_text" | "output_text" => Ok(fields.required("text")?.str()?.to_owned()),
        "refusal" => Ok(fields.required("refusal")?.str()?.to_owned()),
        other => {
            let message = format!("'{}' is {other:?}: this model takes only text.", kind.path);
            Err(ApiError::unsupported(&kind.path, message))
        }
    }
}

/// The functions that the reply may call. `nested` is chat's form, where a function lies in an object of its own; the responses endpoint has
/// it flat.
pub fn tools(fields: &Fields<'_>, nested: bool, served: &Served) -> Result<Option<Tools>> {
    let items = fields.array("tools")?.unwrap_or_default();
    let tools = items.iter().map(|item| tool(item, nested, served)).collect::<Result<Vec<Tool>>>()?;
    let choice = choice(fields, &tools, nested)?;
    let parallel = fields.bool("parallel_tool_calls")?.unwrap_or(true);
    Ok(choice.filter(|_| !tools.is_empty()).map(|choice| Tools { tools, choice, parallel }))
}

fn tool(item: &Item<'_>, nested: bool, served: &Served) -> Result<Tool> {
    let fields = item.object()?;
    let kind = fields.required("type")?;
    if kind.str()? != "function" {
        return Err(kind.invalid("this server knows only functions"));
    }
    let function = if nested { fields.required("function")?.object()? } else { fields };
    let name = function.required("name")?;
    if name.str()?.is_empty() {
        return Err(name.invalid("the name is empty"));
    }
    function.str("description")?;
    function.object("parameters")?;
    let strict = function.bool("strict")?.unwrap_or(false);
    let schema = arguments_schema(function.get("parameters").map(|item| item.value));
    let arguments = json_of(&Item { value: &schema, path: function.name("parameters") }, strict, served)?;
    let known = ["name", "description", "parameters"].into_iter();
    let known = known.filter_map(|key| Some((key.to_owned(), function.get(key)?.value.clone())));
    Ok(Tool { name: name.str()?.to_owned(), function: Value::Object(known.collect()), arguments, strict })
}

/// `None` where the model is not to call anything.
fn choice(fields: &Fields<'_>, tools: &[Tool], nested: bool) -> Result<Option<Choice>> {
    let Some(item) = fields.get("tool_choice") else { return Ok(Some(Choice::Auto)) };
    let choice = match item.value {
        Value::String(text) => match text.as_str() {
            "none" => return Ok(None),
            "auto" => return Ok(Some(Choice::Auto)),
            "required" => Choice::Required,
            _ => return Err(item.invalid("expected none, auto, required or a function")),
        },
        Value::Object(_) => Choice::Function(chosen(&item, tools, nested)?),
        _ => return Err(item.wrong("a string or an object")),
    };
    match tools.is_empty() {
        true => Err(item.invalid("there are no 'tools' to choose from")),
        false => Ok(Some(choice)),
    }
}

fn chosen(item: &Item<'_>, tools: &[Tool], nested: bool) -> Result<String> {
    let fields = item.object()?;
    let kind = fields.required("type")?;
    if kind.str()? != "function" {
        return Err(kind.invalid("expected \"function\""));
    }
    let function = if nested { fields.required("function")?.object()? } else { fields };
    let name = function.required("name")?;
    match tools.iter().any(|tool| Ok(tool.name.as_str()) == name.str().map_err(|_| ())) {
        true => Ok(name.str()?.to_owned()),
        false => Err(name.invalid("no tool has this name")),
    }
}
