//! What was said, and the tokens it is to the model. Turns are only appended or taken back, so that a session that holds the tokens of
//! earlier turns need not run them again.

use std::mem::replace;

use tcrt::chat::{ChatFormat, Message, Role};
use tcrt::tokenizer::{Special, Tokenizer};
use tcrt::{Result, TextStream, prompt};

/// How a model is talked with.
pub struct Voice {
    pub tokenizer: Tokenizer,
    /// A model without one goes on from each message on its own.
    pub format: Option<ChatFormat>,
}

/// A message and the reply to it.
pub struct Turn {
    pub message: String,
    pub reply: String,
    /// What the message adds to the model's tokens.
    asked: Vec<u32>,
    replied: Vec<u32>,
}

impl Turn {
    /// Tokens of the reply.
    pub fn reply_tokens(&self) -> usize {
        self.replied.len()
    }
}

#[derive(Default)]
pub struct Conversation {
    system: Option<String>,
    turns: Vec<Turn>,
}

impl Conversation {
    /// One that begins with a system message, if the format has a place for it.
    pub fn new(voice: &Voice, system: Option<String>) -> Result<Conversation> {
        let mut new = Conversation::default();
        new.set_system(voice, system)?;
        Ok(new)
    }

    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// What is said from here on follows another system message; what was said stays.
    pub fn set_system(&mut self, voice: &Voice, system: Option<String>) -> Result<()> {
        let first = self.turns.first().map_or("", |turn| &turn.message);
        let asked = voice.opening(system.as_deref(), first)?;
        if let Some(turn) = self.turns.first_mut() {
            turn.asked = asked;
        }
        self.system = system;
        Ok(())
    }

    pub fn ask(&mut self, voice: &Voice, message: &str) -> Result<()> {
        let asked = match self.turns.last_mut() {
            None => voice.opening(self.system.as_deref(), message)?,
            Some(last) => {
                voice.forget_reasoning(last);
                voice.following(message)?
            }
        };
        self.turns.push(Turn { message: message.to_string(), reply: String::new(), asked, replied: Vec::new() });
        Ok(())
    }

    /// Sets the reply to the last message, in the tokens that the model is to see of it, and returns what it was before.
    pub fn answer(&mut self, tokens: Vec<u32>, reply: String) -> Option<(Vec<u32>, String)> {
        let turn = self.turns.last_mut()?;
        Some((replace(&mut turn.replied, tokens), replace(&mut turn.reply, reply)))
    }

    /// Takes the last turn back.
    pub fn undo(&mut self) -> Option<Turn> {
        self.turns.pop()
    }

    /// All that the model is to see.
    pub fn tokens(&self, voice: &Voice) -> Vec<u32> {
        let from = if voice.format.is_some() { 0 } else { self.turns.len().saturating_sub(1) };
        self.turns[from..].iter().flat_map(|turn| turn.asked.iter().chain(&turn.replied)).copied().collect()
    }

    /// A turn of an earlier conversation. Its reply's tokens are `count` of those that a session holds, where they fit what was said.
    pub fn recall(&mut self, voice: &Voice, message: &str, reply: &str, held: &[u32], count: usize) -> Result<()> {
        self.ask(voice, message)?;
        let before = self.tokens(voice);
        let tokens = held.strip_prefix(&before[..]).and_then(|rest| rest.get(..count));
        let tokens = tokens.filter(|tokens| voice.says(&before, tokens).is_ok_and(|text| text == reply));
        self.answer(tokens.map_or_else(|| voice.reply(reply), <[u32]>::to_vec), reply.to_string());
        Ok(())
    }
}

impl Voice {
    /// What the first message is to the model.
    fn opening(&self, system: Option<&str>, message: &str) -> Result<Vec<u32>> {
        let Some(format) = &self.format else {
            return match system {
                Some(_) => Err(tcrt::Error::invalid_argument("the model has no chat format, so no system message")),
                None => Ok(prompt::plain(&self.tokenizer, message)),
            };
        };
        let system = system.map(|content| Message { role: Role::System, content });
        let messages: Vec<_> = system.into_iter().chain([Message { role: Role::User, content: message }]).collect();
        prompt::conversation(&self.tokenizer, format, &messages)
    }

    /// What a further message is.
    fn following(&self, message: &str) -> Result<Vec<u32>> {
        match &self.format {
            None => Ok(prompt::plain(&self.tokenizer, message)),
            Some(format) => {
                let user = Message { role: Role::User, content: message };
                prompt::segments(&self.tokenizer, &format.render_after_reply(&[user], true)?)
            }
        }
    }

    /// A reply's text as tokens.
    pub fn reply(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode_part(text, Special::AsText, false)
    }

    /// What tokens say after others.
    fn says(&self, before: &[u32], tokens: &[u32]) -> Result<String> {
        let mut stream = TextStream::new(&self.tokenizer, before, &[])?;
        let text: String = tokens.iter().map(|token| stream.push(*token).0).collect();
        Ok(text + &stream.finish())
    }

    /// A reply that is not the last one loses its reasoning where the format says so.
    fn forget_reasoning(&self, turn: &mut Turn) {
        let Some(format) = &self.format else { return };
        let kept = format.without_reasoning(&turn.reply);
        if kept.len() < turn.reply.len() {
            turn.replied = self.reply(kept);
        }
    }
}
