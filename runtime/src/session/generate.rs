//! The loop that makes a reply: sample, show, append, until something ends it.

use super::text::TextStream;
use super::{Session, Stats};
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

/// The reply so far, and where it goes.
struct Reply<'t, F> {
    tokens: Vec<u32>,
    text: Option<TextStream<'t>>,
    on_event: F,
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
        let begin = Instant::now();
        let mut sampler = Sampler::new(options.sampling.clone(), self.model().info().vocab)?;
        if tokenizer.is_none() && !options.stop_strings.is_empty() {
            return Err(Error::invalid_argument("stop strings need a tokenizer"));
        }
        let text = tokenizer.map(|tokenizer| TextStream::new(tokenizer, prompt, &options.stop_strings)).transpose()?;
        let mut reply = Reply { tokens: Vec::new(), text, on_event };
        let mut stats = Stats { load: self.model().info().load_time, prompt_tokens: prompt.len(), ..Stats::default() };
        stats.reused_tokens = self.keep_common(prompt)?;
        let complete = self.prefill_while(&prompt[stats.reused_tokens..], || !options.cancelled())?;
        stats.prefill = begin.elapsed();
        let finish = match complete {
            false => Finish::Cancelled,
            true => self.reply(&mut sampler, options, &mut reply, || stats.first_token = begin.elapsed())?,
        };
        reply.finish();
        stats.new_tokens = reply.tokens.len();
        if stats.new_tokens > 0 {
            stats.decode = begin.elapsed() - stats.first_token;
        }
        Ok(Generation { tokens: reply.tokens, finish, stats })
    }

    /// Forgets what is not the beginning of `prompt`; its last token is always run, for its logits. How many tokens are held still.
    fn keep_common(&mut self, prompt: &[u32]) -> Result<usize> {
        let same = self.tokens.iter().zip(prompt).take_while(|(held, wanted)| held == wanted).count();
        let keep = same.min(prompt.len().saturating_sub(1));
        self.rewind(keep)?;
        Ok(keep)
    }

    fn reply<F: FnMut(Event) -> ControlFlow<()>>(
        &mut self,
        sampler: &mut Sampler,
        options: &GenerateOptions,
        reply: &mut Reply<'_, F>,
        on_first: impl FnOnce(),
    ) -> Result<Finish> {
        let mut on_first = Some(on_first);
        let mut history = self.tokens.clone();
        loop {
            if reply.tokens.len() >= options.max_new {
                return Ok(Finish::Length);
            }
            if options.cancelled() {
                return Ok(Finish::Cancelled);
            }
            let token = sampler.sample(self.last_logits()?, &history)?;
            if let Some(on_first) = on_first.take() {
                on_first();
            }
            if options.stop_tokens.contains(&token) {
                return Ok(Finish::StopToken(token));
            }
            history.push(token);
            if let Some(finish) = reply.push(token) {
                return Ok(finish);
            }
            if self.room() == 0 {
                return Ok(Finish::Context);
            }
            if reply.tokens.len() < options.max_new {
                self.decode(token)?;
            }
        }
    }
}

impl<F: FnMut(Event) -> ControlFlow<()>> Reply<'_, F> {
    /// Takes a token, and says whether it ends the reply.
    fn push(&mut self, token: u32) -> Option<Finish> {
        self.tokens.push(token);
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
