//! The loop that makes a reply: sample, show, append, until something ends it.

use super::speculate::{Draft, NoDraft};
use super::text::TextStream;
use super::{Session, Stats};
use crate::grammar::{Constraint, Grammar};
use crate::sampling::{Sampler, SamplerOptions};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Tokens of the reply at most; the context's end is another limit.
    pub max_new: usize,
    pub sampling: SamplerOptions,
    /// Tokens that end the reply and are not part of it.
    pub stop_tokens: Vec<u32>,
    /// Strings that end the reply and are not part of it; they need a tokenizer.
    pub stop_strings: Vec<String>,
    /// What the reply must be; it needs a tokenizer.
    pub grammar: Option<Grammar>,
    /// Set from any thread, it ends the reply before the next call.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_new: usize::MAX,
            sampling: SamplerOptions::default(),
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
            grammar: None,
            cancel: None,
        }
    }
}

impl GenerateOptions {
    fn cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

/// What a reply brings as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Token(u32),
    /// Whole characters, after the token that completed them; only with a tokenizer.
    Text(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    StopToken(u32),
    StopString,
    /// It is all that the grammar allows: nothing may follow.
    Grammar,
    /// `max_new` tokens were made.
    Length,
    /// The context is full.
    Context,
    /// The caller's function said so.
    Stopped,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The reply, without the stop token; with the tokens of a stop string.
    pub tokens: Vec<u32>,
    pub finish: Finish,
    pub stats: Stats,
}

impl Session {
    /// Goes on from `prompt`: all the tokens that the model is to see, of which those it holds already are not run again. A
    /// tokenizer gives the reply's text.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        tokenizer: Option<&Tokenizer>,
        options: &GenerateOptions,
        on_event: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation> {
        self.generate_with(prompt, tokenizer, options, &mut NoDraft, on_event)
    }

    /// As `generate`, with a draft whose guesses are verified several a call. The reply is the same, token for token, seed for seed.
    pub fn generate_with(
        &mut self,
        prompt: &[u32],
        tokenizer: Option<&Tokenizer>,
        options: &GenerateOptions,
        draft: &mut dyn Draft,
        on_event: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let begin = Instant::now();
        let sampler = Sampler::new(options.sampling.clone(), self.model().info().vocab)?;
        if tokenizer.is_none() && !options.stop_strings.is_empty() {
            return Err(Error::invalid_argument("stop strings need a tokenizer"));
        }
        let text = tokenizer.map(|tokenizer| TextStream::new(tokenizer, prompt, &options.stop_strings)).transpose()?;
        let mut stats = Stats { load: self.model().info().load_time, prompt_tokens: prompt.len(), ..Stats::default() };
        let history = prompt.to_vec();
        let constraint = constraint(options, tokenizer)?;
        let mut reply =
            Reply { sampler, constraint, history, prompt: prompt.len(), text, options, on_event, first: None };
        stats.reused_tokens = self.keep_common(prompt)?;
        let complete = self.prefill_while(&prompt[stats.reused_tokens..], || !options.cancelled())?;
        stats.prefill = begin.elapsed();
        let finish = match complete {
            false => Finish::Cancelled,
            true => self.reply(&mut reply, draft, &mut stats)?,
        };
        reply.finish();
        stats.first_token = reply.first.map_or(stats.first_token, |first| first - begin);
        let tokens = reply.history.split_off(prompt.len());
        stats.new_tokens = tokens.len();
        if stats.new_tokens > 0 {
            stats.decode = begin.elapsed() - stats.first_token;
        }
        Ok(Generation { tokens, finish, stats })
    }

    /// Forgets what is not the beginning of `prompt`; its last token is always run, for its logits. How many tokens are held still.
    pub(super) fn keep_common(&mut self, prompt: &[u32]) -> Result<usize> {
        let same = self.tokens.iter().zip(prompt).take_while(|(held, wanted)| held == wanted).count();
        let keep = same.min(prompt.len().saturating_sub(1));
        self.rewind(keep)?;
        Ok(keep)
    }

    /// Call by call: a token that was chosen and not run yet, and what the draft guesses to come after it.
    fn reply<F: FnMut(Event) -> ControlFlow<()>>(
        &mut self,
        reply: &mut Reply<'_, F>,
        draft: &mut dyn Draft,
        stats: &mut Stats,
    ) -> Result<Finish> {
        let mut guesses = Vec::new();
        if let Some(finish) = reply.end(self.room()) {
            return Ok(finish);
        }
        let mut next = reply.choose(self.last_logits()?)?;
        loop {
            let token = match next {
                Next::Token(token) => token,
                Next::End(finish) => return Ok(finish),
            };
            // Whatever is guessed, one more token is chosen from the last row: it needs no room until it is run.
            if let Some(finish) = reply.end(self.room()) {
                return Ok(finish);
            }
            guesses.clear();
            let most = self.max_guesses()?.min(self.room() - 1).min(reply.left() - 1);
            draft.guess(&reply.history, most, &mut guesses)?;
            guesses.truncate(most);
            let (chosen, accepted) = self.verify(token, &guesses, reply)?;
            draft.learn(guesses.len(), accepted);
            stats.drafted_tokens += guesses.len();
            stats.accepted_tokens += accepted;
            next = chosen;
        }
    }

    /// Runs `token` and the guesses after it, and chooses a token after each for as long as the next guess is what was chosen. The
    /// session keeps what was right; returned is what comes next, and how many guesses were right.
    fn verify<F: FnMut(Event) -> ControlFlow<()>>(
        &mut self,
        token: u32,
        guesses: &[u32],
        reply: &mut Reply<'_, F>,
    ) -> Result<(Next, usize)> {
        if guesses.is_empty() {
            return Ok((reply.choose(self.decode(token)?)?, 0));
        }
        let before = self.tokens.len();
        let run: Vec<u32> = [token].iter().chain(guesses).copied().collect();
        let mut accepted = 0;
        let next = self.append_and_read(&run, |row, logits| {
            let next = reply.choose(logits)?;
            let right = matches!((&next, guesses.get(row)), (Next::Token(token), Some(guess)) if token == guess);
            // A right guess is run already, so it may still be the last token that has room.
            let ended = if right { reply.end(usize::MAX) } else { None };
            accepted += usize::from(right && ended.is_none());
            let next = ended.map_or(next, Next::End);
            Ok(if right && ended.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(next) })
        })?;
        if accepted < guesses.len() {
            self.rewind(before + 1 + accepted)?;
        }
        Ok((next, accepted))
    }
}

fn constraint(options: &GenerateOptions, tokenizer: Option<&Tokenizer>) -> Result<Option<Constraint>> {
    match (&options.grammar, tokenizer) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(Error::invalid_argument("a grammar needs a tokenizer")),
        (Some(grammar), Some(tokenizer)) => Constraint::new(grammar, tokenizer, &options.stop_tokens).map(Some),
    }
}

/// What a row of logits led to.
enum Next {
    Token(u32),
    End(Finish),
}

/// The reply so far, and where it goes.
struct Reply<'a, F> {
    sampler: Sampler,
    constraint: Option<Constraint>,
    /// The prompt and the reply.
    history: Vec<u32>,
    /// Tokens of the prompt.
    prompt: usize,
    text: Option<TextStream<'a>>,
    options: &'a GenerateOptions,
    on_event: F,
    /// When its first token was chosen.
    first: Option<Instant>,
}

impl<F: FnMut(Event) -> ControlFlow<()>> Reply<'_, F> {
    /// Tokens that may still come.
    fn left(&self) -> usize {
        self.options.max_new - (self.history.len() - self.prompt)
    }

    /// Why no more tokens come, where none may, with so much room in the context.
    fn end(&self, room: usize) -> Option<Finish> {
        match () {
            () if self.left() == 0 => Some(Finish::Length),
            () if self.options.cancelled() => Some(Finish::Cancelled),
            // The prompt's logits give one token even where there is no room to run it.
            () if room == 0 && self.history.len() > self.prompt => Some(Finish::Context),
            () => None,
        }
    }

    /// Chooses a token, takes it into the reply, and says whether it ends it.
    fn choose(&mut self, logits: &mut [f32]) -> Result<Next> {
        if let Some(constraint) = &mut self.constraint {
            constraint.apply(logits)?;
        }
        let token = self.sampler.sample(logits, &self.history)?;
        self.first.get_or_insert_with(Instant::now);
        if self.options.stop_tokens.contains(&token) {
            return Ok(Next::End(Finish::StopToken(token)));
        }
        self.history.push(token);
        let shown = self.show(token);
        let whole = match &mut self.constraint {
            Some(constraint) => constraint.accept(token).map(|()| constraint.is_over())?,
            None => false,
        };
        let finish = shown.or(whole.then_some(Finish::Grammar));
        Ok(finish.map_or(Next::Token(token), Next::End))
    }

    /// Shows a token of the reply, and says whether it ends it.
    fn show(&mut self, token: u32) -> Option<Finish> {
        let (text, stopped) = self.text.as_mut().map(|text| text.push(token)).unwrap_or_default();
        let mut flow = (self.on_event)(Event::Token(token));
        if flow.is_continue() && !text.is_empty() {
            flow = (self.on_event)(Event::Text(&text));
        }
        match flow {
            ControlFlow::Break(()) => Some(Finish::Stopped),
            ControlFlow::Continue(()) if stopped => Some(Finish::StopString),
            ControlFlow::Continue(()) => None,
        }
    }

    fn finish(&mut self) {
        let text = self.text.as_mut().map(TextStream::finish).unwrap_or_default();
        if !text.is_empty() {
            let _ = (self.on_event)(Event::Text(&text));
        }
    }
}
