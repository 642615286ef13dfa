//! Reads calls out of a reply as it comes. What is not a sound call of a function that the client offered stays text, as the model wrote it;
//! all that is ever dropped is the markup of calls and the white space around it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Family;
use super::family::Markers;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Call { name: String, arguments: String },
}

pub struct Parser {
    markers: Markers,
    /// The functions there are.
    names: Vec<String>,
    /// Calls that the reply may still have.
    left: usize,
    /// What could still be markup: the end of the text, or everything since a call began.
    held: String,
    inside: bool,
    /// Whether any text went out.
    begun: bool,
}

impl Parser {
    pub fn new(family: Family, names: Vec<String>, parallel: bool) -> Parser {
        let left = if parallel { usize::MAX } else { 1 };
        Parser { markers: family.markers(), names, left, held: String::new(), inside: false, begun: false }
    }

    /// What `text` makes known.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// The reply has ended.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let held = std::mem::take(&mut self.held);
        let opened = std::mem::take(&mut self.inside);
        let body = held.trim_start().strip_prefix(self.markers.open).unwrap_or(&held);
        match opened.then(|| self.calls(body)).flatten() {
            Some(calls) => parts.extend(calls),
            None => self.text(&held, &mut parts),
        }
        parts
    }

    /// Goes on by one piece of text or markup; whether there may be more to do.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        match (self.inside, self.markers.close) {
            (true, None) => false,
            (true, Some(close)) => self.close(close, parts),
            (false, _) => self.open(parts),
        }
    }

    fn open(&mut self, parts: &mut Vec<Part>) -> bool {
        let begins = self.held.trim_start();
        if self.markers.bare && !self.begun && begins.starts_with('{') {
            self.inside = true;
            return true;
        }
        if let Some(at) = self.held.find(self.markers.open) {
            let rest = self.held.split_off(at);
            let before = std::mem::replace(&mut self.held, rest);
            // White space before a call is its markup's.
            self.text(before.trim_end(), parts);
            self.inside = true;
            return true;
        }
        let keep = self.may_become_markup();
        let rest = self.held.split_off(self.held.len() - keep);
        let before = std::mem::replace(&mut self.held, rest);
        self.text(&before, parts);
        false
    }

    /// How much of the end of the text may be the beginning of markup, with white space before it.
    fn may_become_markup(&self) -> usize {
        let open = self.markers.open;
        let begun = (0..open.len().min(self.held.len() + 1)).rev();
        let begun = begun.filter(|len| open.is_char_boundary(*len)).find(|len| self.held.ends_with(&open[..*len]));
        let before = &self.held[..self.held.len() - begun.unwrap_or(0)];
        self.held.len() - before.trim_end().len()
    }

    fn close(&mut self, close: &str, parts: &mut Vec<Part>) -> bool {
        let open = self.markers.open;
        let Some(at) = self.held.find(close) else { return false };
        let rest = self.held.split_off(at + close.len());
        let block = std::mem::replace(&mut self.held, rest);
        self.inside = false;
        let body = block.strip_prefix(open).and_then(|block| block.strip_suffix(close));
        match body.and_then(|body| self.calls(body)) {
            Some(calls) => parts.extend(calls),
            None => self.text(&block, parts),
        }
        true
    }

    fn text(&mut self, text: &str, parts: &mut Vec<Part>) {
        if !text.is_empty() {
            self.begun = true;
            parts.push(Part::Text(text.to_owned()));
        }
    }

    /// The calls that `body` consists of, if it consists of calls and there may be as many.
    fn calls(&mut self, body: &str) -> Option<Vec<Part>> {
        let calls = read_calls(body.trim())?;
        let known = calls.iter().all(|call| self.names.contains(&call.name));
        if calls.is_empty() || !known || calls.len() > self.left {
            return None;
        }
        let calls: Option<Vec<Part>> = calls.into_iter().map(Written::into_part).collect();
        self.left -= calls.as_ref().map_or(0, Vec::len);
        calls
    }
}

/// A call as models write it.
#[derive(Deserialize)]
struct Written<'a> {
    name: String,
    #[serde(borrow, alias = "parameters")]
    arguments: Option<&'a RawValue>,
}

impl Written<'_> {
    fn into_part(self) -> Option<Part> {
        let arguments = self.arguments.map_or("{}", RawValue::get);
        arguments.starts_with('{').then(|| Part::Call { name: self.name, arguments: arguments.to_owned() })
    }
}

/// A list of calls, or calls one after the other, with or without semicolons or commas.
fn read_calls(text: &str) -> Option<Vec<Written<'_>>> {
    if text.starts_with('[') {
        return serde_json::from_str(text).ok();
    }
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter();
        calls.push(stream.next()?.ok()?);
        rest = rest[stream.byte_offset()..].trim_start().trim_start_matches([';', ',']).trim_start();
    }
    Some(calls)
}

#[cfg(test)]
mod tests;
