//! A job that has a sequence of the engine.

use std::ops::Range;
use std::time::Instant;

use tcrt::{Engine, Result, SeqId};

use super::logprob::score;
use super::queue::Job;
use super::reply::Reply;
use super::{End, Event, Finish, Scored};

pub struct Active<'t> {
    pub job: Job,
    pub sequence: SeqId,
    /// The prompt and the reply.
    pub tokens: Vec<u32>,
    /// How many of them the sequence holds.
    pub done: usize,
    pub reused: usize,
    pub first_token: Option<Instant>,
    pub reply: Reply<'t>,
    prompt_scores: Vec<Scored>,
    /// Of hidden states, where an embedding is asked for.
    sum: Vec<f32>,
    context: usize,
}

impl<'t> Active<'t> {
    pub fn new(job: Job, sequence: SeqId, reused: usize, reply: Reply<'t>, context: usize) -> Active<'t> {
        let tokens = job.request.prompt.clone();
        let (prompt_scores, sum, first_token) = (Vec::new(), Vec::new(), None);
        Active { job, sequence, tokens, done: reused, reused, first_token, reply, prompt_scores, sum, context }
    }

    pub fn pending(&self) -> usize {
        self.tokens.len() - self.done
    }

    pub fn in_prompt(&self) -> bool {
        self.done < self.job.request.prompt.len()
    }

    pub fn new_tokens(&self) -> usize {
        self.reply.len
    }

    /// Which of these places are run for their logits.
    pub fn rows(&self, places: &Range<usize>) -> Range<usize> {
        match self.job.request.wants_all() {
            true => places.clone(),
            false => places.end.min(self.tokens.len() - 1).max(places.start)..places.end,
        }
    }

    /// Takes the hidden state of the token at `place`, and says whether it was the last.
    pub fn take_hidden(&mut self, place: usize, row: usize, engine: &Engine) -> Result<Option<Finish>> {
        self.sum.resize(engine.model().info().hidden, 0.0);
        engine.add_hidden(row, &mut self.sum)?;
        if place + 1 < self.tokens.len() {
            return Ok(None);
        }
        self.job.send(Event::Embedding(std::mem::take(&mut self.sum)));
        Ok(Some(Finish::Length))
    }

    /// Takes the logits after the token at `place`, and says whether the reply has ended.
    pub fn take(&mut self, place: usize, row: &mut [f32]) -> Result<Option<Finish>> {
        let request = &self.job.request;
        if let Some(next) = self.tokens.get(place + 1) {
            self.prompt_scores.push(score(row, *next, request.logprobs.unwrap_or_default()));
            return Ok(None);
        }
        if place + 1 == request.prompt.len() {
            self.job.send(Event::Prompt(std::mem::take(&mut self.prompt_scores)));
        }
        if request.max_new == 0 {
            return Ok(Some(Finish::Length));
        }
        let Some(token) = self.reply.sample(row, &self.tokens, request)? else { return Ok(Some(Finish::Stop)) };
        self.first_token.get_or_insert_with(Instant::now);
        let (piece, finish) = self.reply.push(token, request)?;
        send_unless_empty(&self.job, piece);
        self.tokens.push(token);
        Ok(finish.or((self.tokens.len() > self.context).then_some(Finish::Length)))
    }

    /// The reply is complete.
    pub fn end(&mut self, finish: Finish) {
        send_unless_empty(&self.job, self.reply.finish());
        let end = End { finish, new_tokens: self.reply.len, reused_tokens: self.reused };
        self.job.end(Event::End(end));
    }
}

fn send_unless_empty(job: &Job, event: Event) {
    match &event {
        Event::Piece { text, scored } if text.is_empty() && scored.is_empty() => {}
        _ => job.send(event),
    }
}
