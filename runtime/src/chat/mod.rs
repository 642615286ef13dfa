//! Chat formats: how a conversation becomes the text a model was trained on.
//!
//! A checkpoint says this with a Jinja template. The compiler lowers the template to a [`ChatFormat`], plain data that an artifact carries and this module
//! renders. The outcome is a list of [`Segment`]s: what the format itself says may name special tokens, what people said never does. So no
//! message can forge a turn. `docs/chat-format.md` describes the fields and their bytes.

mod date;
mod decode;
mod encode;
mod render;
mod space;
#[cfg(test)]
mod tests;

pub use date::Date;
pub use render::Segment;
pub use space::is_space;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub role: Role,
    pub content: &'a str,
}

/// A part of what the format itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Exactly one special token, by its text.
    Special(String),
    Text(String),
    /// The date in this `strftime` format.
    Date(String),
}

/// What surrounds a message of one role, and what white space the message loses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    pub prefix: Vec<Piece>,
    pub suffix: Vec<Piece>,
    pub trim: Trim,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trim {
    pub start: bool,
    pub end: bool,
}

/// Where a system message that opens the conversation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemPlace {
    /// Nowhere: the model was not trained with one, and rendering one is an error.
    Refused,
    /// Before everything, in place of the opening.
    OwnTurn,
    /// Inside the first user turn, before what the user says.
    FirstUser,
    /// Inside the last message, if that is the user's.
    LastUser,
}

/// What an earlier reply loses: everything up to and with the last `close`, and then the newlines that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasoning {
    pub close: String,
    pub trim_newlines: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatFormat {
    /// What comes first when there is no system message with a turn of its own: often the begin token, or a default system turn.
    pub opening: Vec<Piece>,
    pub system_place: SystemPlace,
    pub system: Turn,
    /// A system message inside a user turn: the user's trim is that of both together, not of what the user says.
    pub trim_joined: bool,
    /// An empty system message at the beginning is no system message.
    pub skip_empty_system: bool,
    /// A system message that is not the first message; without this it is an error.
    pub late_system: Option<Turn>,
    pub user: Turn,
    pub assistant: Turn,
    pub reasoning: Option<Reasoning>,
    /// What asks the model for a reply.
    pub generation: Vec<Piece>,
    /// User and assistant must take turns, the user first.
    pub must_alternate: bool,
    /// Whether a conversation may end with the assistant's message.
    pub may_end_with_reply: bool,
    /// The special tokens that end a reply.
    pub stop_tokens: Vec<String>,
    /// The strings that end a reply, where no special token does.
    pub stop_strings: Vec<String>,
    /// What the date pieces print, until the application says otherwise: one file and one prompt give one text, on any day.
    pub date: Date,
}

impl ChatFormat {
    /// Strings that end a reply; neither they nor what follows them belong to it.
    pub fn stop_strings(&self) -> &[String] {
        &self.stop_strings
    }

    /// Special tokens, by their text, that end a reply.
    pub fn stop_token_texts(&self) -> &[String] {
        &self.stop_tokens
    }
}
