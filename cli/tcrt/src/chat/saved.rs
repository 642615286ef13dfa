//! A conversation as a file: its messages as JSON, in the form of OpenAI's API, so that people and other programs can read it; and
//! beside it what the model made of them, so that going on needs no time. The latter fits one model only and may be missing.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tcrt::sys::write_whole;

use super::conversation::Conversation;
use crate::output::{Failure, Result};

pub struct Saved {
    pub system: Option<String>,
    pub turns: Vec<SavedTurn>,
}

pub struct SavedTurn {
    pub message: String,
    pub reply: String,
    /// Tokens of the reply in the session's state; 0 where the file does not say.
    pub tokens: usize,
}

/// Where the session's state is.
pub fn state_path(path: &Path) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(".state");
    name.into()
}

/// `~/` is the home directory, as in a shell.
pub fn path(given: &str) -> PathBuf {
    match (given.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => given.into(),
    }
}

pub fn write(path: &Path, model: &str, conversation: &Conversation) -> Result<()> {
    let system = conversation.system().map(|content| json!({ "role": "system", "content": content }));
    let turns = conversation.turns().iter().flat_map(|turn| {
        let reply = json!({ "role": "assistant", "content": turn.reply, "tokens": turn.reply_tokens() });
        [json!({ "role": "user", "content": turn.message }), reply]
    });
    let messages: Vec<Value> = system.into_iter().chain(turns).collect();
    let text = format!("{:#}\n", json!({ "model": model, "messages": messages }));
    Ok(write_whole(path, |mut file| {
        let written = file.write_all(text.as_bytes());
        written.map_err(|error| tcrt::Error::new(tcrt::ErrorKind::Io, error.to_string()))
    })?)
}

pub fn read(path: &Path) -> Result<Saved> {
    let failed = |reason: String| Failure::Line(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

fn parse(text: &str) -> std::result::Result<Saved, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let messages = value.get("messages").and_then(Value::as_array).ok_or("has no list \"messages\"")?;
    let mut messages = messages.iter().enumerate().peekable();
    let first = messages.next_if(|(_, message)| message["role"] == "system");
    let system = first.map(|first| content(first, "system")).transpose()?;
    let mut turns = Vec::new();
    while let Some(message) = messages.next() {
        let message = content(message, "user")?;
        let Some((at, value)) = messages.next() else { return Err("its last message has no reply".into()) };
        let reply = content((at, value), "assistant")?;
        let tokens = value["tokens"].as_u64().unwrap_or(0) as usize;
        turns.push(SavedTurn { message, reply, tokens });
    }
    Ok(Saved { system, turns })
}

fn content((at, message): (usize, &Value), role: &str) -> std::result::Result<String, String> {
    let wrong = |what: &str| format!("message {}: {what}", at + 1);
    match (message["role"] == role, message["content"].as_str()) {
        (true, Some(content)) => Ok(content.to_string()),
        (true, None) => Err(wrong("has no text as its \"content\"")),
        (false, _) => Err(wrong(&format!("should have the role \"{role}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_mistakes_placed() {
        let message = |role: &str, content: &str| format!(r#"{{"role": "{role}", "content": "{content}"}}"#);
        let parse = |messages: &[String]| parse(&format!("{{\"messages\": [{}]}}", messages.join(", ")));
        let (user, reply, system) = (message("user", "a"), message("assistant", "b"), message("system", "s"));
        let saved = parse(&[system.clone(), user.clone(), reply.clone()]).unwrap();
        assert_eq!((saved.system.as_deref(), &*saved.turns[0].message, &*saved.turns[0].reply), (Some("s"), "a", "b"));
        assert!(parse(&[]).unwrap().turns.is_empty());
        let refused = |messages: &[String]| parse(messages).err().unwrap();
        assert_eq!(refused(&[user.clone(), user.clone()]), "message 2: should have the role \"assistant\"");
        assert_eq!(refused(&[system, reply]), "message 2: should have the role \"user\"");
        assert_eq!(refused(&["{\"role\": \"user\"}".into()]), "message 1: has no text as its \"content\"");
        assert_eq!(refused(&[user]), "its last message has no reply");
    }
}
