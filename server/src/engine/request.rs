//! What the engine is asked for, and what it answers.

use std::time::Instant;

use tcrt::sampling::SamplerOptions;

use super::hold::Held;

/// One reply to one prompt.
#[derive(Clone, Debug)]
pub struct Request {
    /// At least one token, at most as many as the context has positions.
    pub prompt: Vec<u32>,
    pub max_new: usize,
    pub sampling: SamplerOptions,
    /// Tokens that end the reply and are no part of it.
    pub stop_tokens: Vec<u32>,
    /// Strings that end the reply and are no part of it.
    pub stop_strings: Vec<String>,
    /// Special tokens that are text in this reply.
    pub shown: Vec<u32>,
    /// What the reply must be.
    pub held: Option<Held>,
    /// Score the reply's tokens, and name this many of the best beside each.
    pub logprobs: Option<usize>,
    /// Score the prompt's tokens likewise.
    pub prompt_logprobs: bool,
    /// No reply, but the prompt's hidden states made one vector.
    pub pooling: Option<Pooling>,
    pub deadline: Option<Instant>,
    /// Whose request it is: where requests wait, each of these has its turn.
    pub flow: u64,
}

impl Request {
    /// Whether something is asked for of every token of the prompt, so that none can come from an earlier one.
    pub fn wants_all(&self) -> bool {
        self.prompt_logprobs || self.pooling == Some(Pooling::Mean)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The sum over all tokens: the mean, but for its length.
    Mean,
    /// The last token's.
    Last,
}

/// A token with its log probability as the model gave it: before bias, penalties and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub token: u32,
    pub logprob: f32,
    /// The best tokens, best first.
    pub top: Vec<(u32, f32)>,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// The prompt was run; scores of its tokens after the first, where they were asked for.
    Prompt(Vec<Scored>),
    /// The prompt's hidden states as one vector, which no one has given a length yet.
    Embedding(Vec<f32>),
    /// Text that can be shown, and the tokens that it is known to keep.
    Piece {
        text: String,
        scored: Vec<Scored>,
    },
    End(End),
    Failed(Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub finish: Finish,
    pub new_tokens: usize,
    /// Tokens of the prompt that an earlier prompt had brought already.
    pub reused_tokens: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token or a stop string.
    Stop,
    /// `max_new` tokens, or all that the context has room for.
    Length,
}

#[derive(Clone, Debug)]
pub enum Failure {
    TimedOut,
    Engine(tcrt::Error),
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More replies run and wait than may.
    Busy,
    /// The engine has ended.
    Gone,
}
