//! A conversation with functions, in the form that a family of models was trained on.
//!
//! Sources: the chat templates of Qwen2.5-Instruct and Hermes-3, of Llama-3.1-Instruct, and Mistral's "tokenizer v3" description.

use serde_json::{Value, json};
use tcrt::chat::{ChatFormat, Entry, Message as Plain, Piece, Role, Segment, SystemPlace, Turn};
use tcrt::prompt::segments;
use tcrt::{Error, Result};

use super::python_json::{indented, line};
use super::{Call, Choice, Family, Message, Tools};
use crate::served::Served;

/// What the model is fed.
pub struct Prompt {
    pub tokens: Vec<u32>,
    /// The end of it, where that is the beginning of a call which the reply must make.
    pub forced: String,
}

pub fn conversation(served: &Served, messages: &[Message], tools: Option<&Tools>) -> Result<Prompt> {
    let none = || Error::invalid_argument("this model has no chat format: it may be a base model; use completions");
    let format = served.chat.as_ref().ok_or_else(none)?;
    let written = Writer { format, family: served.tools, tools }.write(messages);
    let entries: Vec<Entry<'_>> = written.iter().map(Written::entry).collect();
    let mut rendered = format.render_entries(&entries, true)?;
    let forced = tools.map(|tools| forced(served.tools, &tools.choice)).unwrap_or_default();
    let shown = served.tools.shown(&served.tokenizer);
    let marker = served.tools.markers().open;
    match forced.strip_prefix(marker) {
        // A marker that is a special token must become that token.
        Some(rest) if served.tokenizer.token_id(marker.as_ref()).is_some_and(|id| shown.contains(&id)) => {
            rendered.push(Segment::Special(marker.to_owned()));
            rendered.push(Segment::Text(rest.to_owned()));
        }
        _ if forced.is_empty() => {}
        _ => rendered.push(Segment::Text(forced.clone())),
    }
    Ok(Prompt { tokens: segments(&served.tokenizer, &rendered)?, forced })
}

/// The beginning of a reply that cannot but call.
fn forced(family: Family, choice: &Choice) -> String {
    let markers = family.markers();
    let begin = match family {
        Family::Hermes => "<tool_call>\n{\"name\": \"",
        Family::Llama3 => "{\"name\": \"",
        Family::Mistral => "[TOOL_CALLS] [{\"name\": \"",
    };
    match choice {
        Choice::Auto => String::new(),
        Choice::Required => begin.to_owned(),
        Choice::Function(name) => {
            let name = Value::from(name.as_str()).to_string();
            format!("{begin}{}, \"{}\": ", &name[1..], markers.arguments)
        }
    }
}

/// A message with the text that the model sees.
struct Written {
    role: Role,
    content: String,
    turn: Option<Turn>,
}

impl Written {
    fn plain(role: Role, content: String) -> Written {
        Written { role, content, turn: None }
    }

    fn entry(&self) -> Entry<'_> {
        Entry { message: Plain { role: self.role, content: &self.content }, turn: self.turn.as_ref() }
    }
}

struct Writer<'a> {
    format: &'a ChatFormat,
    family: Family,
    tools: Option<&'a Tools>,
}

impl Writer<'_> {
    fn write(&self, messages: &[Message]) -> Vec<Written> {
        let mut out: Vec<Written> = Vec::new();
        for (i, message) in messages.iter().enumerate() {
            match message {
                Message::System(content) => out.push(Written::plain(Role::System, content.clone())),
                Message::User(content) => out.push(Written::plain(Role::User, content.clone())),
                Message::Assistant { content, calls } if calls.is_empty() => {
                    out.push(Written::plain(Role::Assistant, content.clone()));
                }
                Message::Assistant { content, calls } => out.push(self.calls(content, calls)),
                Message::Tool { id, content } => {
                    let after = i > 0 && matches!(messages[i - 1], Message::Tool { .. });
                    self.result(id, content, after, &mut out);
                }
            }
        }
        if let Some(tools) = self.tools {
            self.offer(tools, &mut out);
        }
        out
    }

    /// Tells the model what it may call.
    fn offer(&self, tools: &Tools, out: &mut Vec<Written>) {
        let offered = tools.tools.iter().map(|tool| json!({ "type": "function", "function": tool.function }));
        let offered: Vec<Value> = offered.collect();
        match self.family {
            Family::Hermes => {
                let text = hermes(&offered);
                self.system(out, |system| if system.is_empty() { text } else { format!("{system}\n\n{text}") });
            }
            Family::Llama3 => {
                self.system(out, |system| format!("Environment: ipython\n{system}"));
                if let Some(user) = out.iter_mut().find(|message| message.role == Role::User) {
                    user.content = llama(&offered, &user.content);
                }
            }
            Family::Mistral => {
                if let Some(user) = out.iter_mut().rfind(|m| m.role == Role::User && m.turn.is_none()) {
                    let list = format!("{}{}", self.space(), line(&Value::Array(offered)));
                    let own = [special("[AVAILABLE_TOOLS]"), Piece::Text(list), special("[/AVAILABLE_TOOLS]")];
                    let mut turn = self.format.user.clone();
                    turn.prefix.splice(0..0, own);
                    user.turn = Some(turn);
                }
            }
        }
    }

    /// Changes the system message, or what stands for it.
    fn system(&self, out: &mut Vec<Written>, change: impl FnOnce(&str) -> String) {
        if let Some(system) = out.first_mut().filter(|message| message.role == Role::System) {
            system.content = change(&system.content);
        } else if self.format.system_place != SystemPlace::Refused {
            out.insert(0, Written::plain(Role::System, change("").trim_end().to_owned()));
        } else if let Some(user) = out.iter_mut().find(|message| message.role == Role::User) {
            user.content = format!("{}\n\n{}", change(""), user.content);
        }
    }

    /// An earlier reply that called.
    fn calls(&self, content: &str, calls: &[Call]) -> Written {
        let key = self.family.markers().arguments;
        let object = |call: &Call| {
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            json!({ "name": call.name, key: arguments })
        };
        match self.family {
            Family::Hermes => {
                let blocks = calls.iter().map(|call| format!("<tool_call>\n{}\n</tool_call>", line(&object(call))));
                let text = (!content.is_empty()).then(|| content.to_owned());
                let text = text.into_iter().chain(blocks).collect::<Vec<_>>().join("\n");
                Written::plain(Role::Assistant, text)
            }
            Family::Llama3 => {
                let text = calls.iter().map(|call| line(&object(call))).collect::<Vec<_>>().join("; ");
                Written::plain(Role::Assistant, text)
            }
            Family::Mistral => {
                let with_id = |call: &Call| {
                    let mut object = object(call);
                    object["id"] = mistral_id(&call.id).into();
                    object
                };
                let list = line(&Value::Array(calls.iter().map(with_id).collect()));
                let prefix = vec![special("[TOOL_CALLS]"), Piece::Text(format!("{}{list}", self.space()))];
                let turn = Turn { prefix, ..self.format.assistant.clone() };
                Written { role: Role::Assistant, content: String::new(), turn: Some(turn) }
            }
        }
    }

    /// What a call gave; `after` another result, which the same turn may hold.
    fn result(&self, id: &str, content: &str, after: bool, out: &mut Vec<Written>) {
        match self.family {
            Family::Hermes => {
                let text = format!("<tool_response>\n{content}\n</tool_response>");
                match out.last_mut().filter(|_| after) {
                    Some(last) => last.content = format!("{}\n{text}", last.content),
                    None => out.push(Written::plain(Role::User, text)),
                }
            }
            Family::Llama3 => {
                let turn = Some(renamed(&self.format.user, "user", "ipython"));
                out.push(Written { role: Role::User, content: line(&content.into()), turn });
            }
            Family::Mistral => {
                let result: Value = serde_json::from_str(content).unwrap_or_else(|_| content.into());
                let result = line(&json!({ "content": result, "call_id": mistral_id(id) }));
                let prefix = vec![special("[TOOL_RESULTS]"), Piece::Text(self.space().into())];
                let turn = Turn { prefix, suffix: vec![special("[/TOOL_RESULTS]")], ..Turn::default() };
                out.push(Written { role: Role::User, content: result, turn: Some(turn) });
            }
        }
    }

    /// What Mistral's format has after a control token: a space, or with newer tokenizers nothing.
    fn space(&self) -> &'static str {
        let spaced = |piece: &Piece| matches!(piece, Piece::Text(text) if text.starts_with(' '));
        if self.format.user.prefix.iter().any(spaced) { " " } else { "" }
    }
}

fn special(token: &str) -> Piece {
    Piece::Special(token.to_owned())
}

fn renamed(turn: &Turn, from: &str, to: &str) -> Turn {
    let mut turn = turn.clone();
    for piece in &mut turn.prefix {
        if let Piece::Text(text) = piece {
            *text = text.replacen(from, to, 1);
        }
    }
    turn
}

/// Mistral's calls have names of nine characters.
fn mistral_id(id: &str) -> String {
    let id: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    id[id.len().saturating_sub(9)..].iter().collect()
}

fn hermes(tools: &[Value]) -> String {
    let tools: String = tools.iter().map(|tool| format!("{}\n", line(tool))).collect();
    format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
         You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{tools}</tools>\n\n\
         For each function call, return a json object with function name and arguments within <tool_call></tool_call> \
         XML tags:\n<tool_call>\n{{\"name\": <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>"
    )
}

fn llama(tools: &[Value], user: &str) -> String {
    let tools: String = tools.iter().map(|tool| format!("{}\n\n", indented(tool))).collect();
    format!(
        "Given the following functions, please respond with a JSON for a function call with its proper arguments \
         that best answers the given prompt.\n\nRespond in the format {{\"name\": function name, \"parameters\": \
         dictionary of argument name and its value}}.Do not use variables.\n\n{tools}{user}"
    )
}
