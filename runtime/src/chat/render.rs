//! A conversation, written in a chat format.

use super::{ChatFormat, Entry, Message, Piece, Role, SystemPlace, Trim, Turn};
use crate::{Error, Result};

/// A stretch of the rendered conversation, and how the tokenizer must take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly one special token, by its text.
    Special(String),
    /// Plain text, even where it spells a special token. No two of these are neighbours.
    Text(String),
}

impl Segment {
    pub fn as_str(&self) -> &str {
        let (Self::Special(text) | Self::Text(text)) = self;
        text
    }
}

impl ChatFormat {
    /// The whole conversation, from the begin token on.
    pub fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<Vec<Segment>> {
        self.render_entries(&plain(messages), add_generation_prompt)
    }

    /// As `render`, of messages that may have turns of their own; where messages must alternate, the role says whose such a turn is.
    pub fn render_entries(&self, entries: &[Entry<'_>], add_generation_prompt: bool) -> Result<Vec<Segment>> {
        let (system, rest) = match entries.split_first() {
            Some((Entry { message, turn: None }, rest)) if message.role == Role::System => {
                (Some(message.content), rest)
            }
            _ => (None, entries),
        };
        let system = system.filter(|s| !self.skip_empty_system || !self.system.trim.apply(s).is_empty());
        self.check(system.is_some(), rest)?;
        let mut out = Output::new(self);
        match system {
            Some(content) if self.system_place == SystemPlace::OwnTurn => out.turn(&self.system, content)?,
            _ => out.pieces(&self.opening)?,
        }
        let host = system.and_then(|_| self.system_host(rest));
        for (i, entry) in rest.iter().enumerate() {
            match system {
                Some(content) if host == Some(i) => out.joined(content, entry)?,
                _ => self.entry(&mut out, entry)?,
            }
        }
        self.finish(out, add_generation_prompt)
    }

    /// What to feed after a reply, so that all that was fed before stays: the end of the reply's turn, then `next`, then the generation prompt.
    ///
    /// Fed before: a rendering with the generation prompt, and the reply's tokens without the stop token. What a fresh [`render`](Self::render)
    /// would take from earlier messages (an earlier reply's reasoning, a system message that moves to the last turn) stays as it was fed.
    pub fn render_after_reply(&self, next: &[Message<'_>], add_generation_prompt: bool) -> Result<Vec<Segment>> {
        let next = plain(next);
        self.check(false, &next)?;
        let mut out = Output::new(self);
        out.pieces(&self.assistant.suffix)?;
        for entry in &next {
            self.entry(&mut out, entry)?;
        }
        self.finish(out, add_generation_prompt)
    }

    fn finish(&self, mut out: Output<'_>, add_generation_prompt: bool) -> Result<Vec<Segment>> {
        if add_generation_prompt {
            out.pieces(&self.generation)?;
        }
        Ok(out.segments)
    }

    fn check(&self, system: bool, rest: &[Entry<'_>]) -> Result<()> {
        let refuse = |what: &str| Err(Error::invalid_argument(format!("this model's chat format {what}")));
        if system && self.system_place == SystemPlace::Refused {
            return refuse("has no system message");
        }
        if self.late_system.is_none() && rest.iter().any(|e| e.message.role == Role::System) {
            return refuse("takes a system message only as the first message");
        }
        match rest.last().map(|e| e.message.role) {
            Some(Role::User) => {}
            Some(Role::Assistant) if self.may_end_with_reply => {}
            Some(_) => return refuse("needs the last message to be the user's"),
            None => return refuse("needs a message of the user"),
        }
        let turns = rest.iter().map(|e| e.message).filter(|m| m.role != Role::System);
        if self.must_alternate && turns.enumerate().any(|(i, m)| (m.role == Role::User) != (i % 2 == 0)) {
            return refuse("needs user and assistant to take turns, the user first");
        }
        Ok(())
    }

    /// The message whose turn holds the system message, where that has no turn of its own.
    fn system_host(&self, rest: &[Entry<'_>]) -> Option<usize> {
        match self.system_place {
            SystemPlace::FirstUser => rest.iter().position(|e| e.message.role == Role::User),
            SystemPlace::LastUser => rest.len().checked_sub(1).filter(|&last| rest[last].message.role == Role::User),
            SystemPlace::OwnTurn | SystemPlace::Refused => None,
        }
    }

    fn entry(&self, out: &mut Output<'_>, entry: &Entry<'_>) -> Result<()> {
        let Entry { message, turn } = entry;
        if let Some(turn) = turn {
            return out.turn(turn, message.content);
        }
        match (message.role, &self.late_system) {
            (Role::User, _) => out.turn(&self.user, message.content),
            (Role::Assistant, _) => out.turn(&self.assistant, self.without_reasoning(message.content)),
            (Role::System, Some(turn)) => out.turn(turn, message.content),
            (Role::System, None) => Err(Error::invalid_argument("a system message has no place here")),
        }
    }

    /// An earlier reply as a later rendering has it.
    pub fn without_reasoning<'a>(&self, reply: &'a str) -> &'a str {
        let Some(reasoning) = &self.reasoning else { return reply };
        match reply.rsplit_once(&reasoning.close) {
            Some((_, answer)) if reasoning.trim_newlines => answer.trim_start_matches('\n'),
            Some((_, answer)) => answer,
            None => reply,
        }
    }
}

fn plain<'a>(messages: &[Message<'a>]) -> Vec<Entry<'a>> {
    messages.iter().map(|message| Entry { message: *message, turn: None }).collect()
}

/// Segments as they come, neighbouring texts joined.
struct Output<'f> {
    format: &'f ChatFormat,
    segments: Vec<Segment>,
}

impl<'f> Output<'f> {
    fn new(format: &'f ChatFormat) -> Self {
        Self { format, segments: Vec::new() }
    }

    fn turn(&mut self, turn: &Turn, content: &str) -> Result<()> {
        self.pieces(&turn.prefix)?;
        self.text(turn.trim.apply(content));
        self.pieces(&turn.suffix)
    }

    /// A user turn that holds the system message.
    fn joined(&mut self, system: &str, host: &Entry<'_>) -> Result<()> {
        let (turn, user) = (host.turn.unwrap_or(&self.format.user), host.message.content);
        let mut body = Output::new(self.format);
        body.turn(&self.format.system, system)?;
        if self.format.trim_joined {
            body.text(user);
            trim(&mut body.segments, turn.trim);
        } else {
            body.text(turn.trim.apply(user));
        }
        self.pieces(&turn.prefix)?;
        body.segments.into_iter().for_each(|segment| self.segment(segment));
        self.pieces(&turn.suffix)
    }

    fn pieces(&mut self, pieces: &[Piece]) -> Result<()> {
        for piece in pieces {
            match piece {
                Piece::Special(token) => self.segments.push(Segment::Special(token.clone())),
                Piece::Text(text) => self.text(text),
                Piece::Date(format) => self.text(&self.format.date.format(format)?),
            }
        }
        Ok(())
    }

    fn segment(&mut self, segment: Segment) {
        match segment {
            Segment::Text(text) => self.text(&text),
            special => self.segments.push(special),
        }
    }

    fn text(&mut self, text: &str) {
        match self.segments.last_mut() {
            _ if text.is_empty() => {}
            Some(Segment::Text(last)) => last.push_str(text),
            _ => self.segments.push(Segment::Text(text.to_owned())),
        }
    }
}

/// Trims a list in which no two texts are neighbours: only the first and the last can lose anything.
fn trim(segments: &mut Vec<Segment>, trim: Trim) {
    let start = Trim { end: false, ..trim };
    let end = Trim { start: false, ..trim };
    if let Some(Segment::Text(first)) = segments.first_mut() {
        *first = start.apply(first).to_owned();
    }
    if let Some(Segment::Text(last)) = segments.last_mut() {
        *last = end.apply(last).to_owned();
    }
    segments.retain(|s| !s.as_str().is_empty());
}
