//! One reply as it grows: held to its form, sampled, scored, turned into text.

use std::collections::VecDeque;

use tcrt::sampling::Sampler;
use tcrt::tokenizer::Tokenizer;
use tcrt::{Result, TextStream};

use super::hold::Hold;
use super::logprob::score;
use super::{Event, Finish, Request, Scored};

pub struct Reply<'t> {
    tokenizer: &'t Tokenizer,
    sampler: Sampler,
    hold: Option<Hold>,
    text: TextStream<'t>,
    /// Scores of tokens that may still turn out to belong to a stop string, with the byte where each begins.
    held: VecDeque<(usize, Scored)>,
    /// The row as the model gave it, for scores: sampling changes it.
    row: Vec<f32>,
    pub len: usize,
}

impl<'t> Reply<'t> {
    pub fn new(request: &Request, tokenizer: &'t Tokenizer, vocab: usize, hold: Option<Hold>) -> Result<Reply<'t>> {
        let text = TextStream::new(tokenizer, &request.prompt, &request.stop_strings)?;
        Ok(Reply {
            tokenizer,
            sampler: Sampler::new(request.sampling.clone(), vocab)?,
            hold,
            text: text.showing(request.shown.clone()),
            held: VecDeque::new(),
            row: Vec::new(),
            len: 0,
        })
    }

    /// Picks the token that follows `history`: `None` ends the reply, as a stop token did.
    pub fn sample(&mut self, row: &mut [f32], history: &[u32], request: &Request) -> Result<Option<u32>> {
        if request.logprobs.is_some() {
            self.row.clear();
            self.row.extend_from_slice(row);
        }
        if let Some(hold) = &mut self.hold {
            hold.apply(row)?;
        }
        let token = self.sampler.sample(row, history)?;
        if request.stop_tokens.contains(&token) {
            return Ok(None);
        }
        if let Some(top) = request.logprobs {
            self.held.push_back((self.text.decoded(), score(&self.row, token, top)));
        }
        self.len += 1;
        Ok(Some(token))
    }

    /// What the token brings to show, and whether it ends the reply.
    pub fn push(&mut self, token: u32, request: &Request) -> Result<(Event, Option<Finish>)> {
        let whole = match &mut self.hold {
            Some(hold) => hold.accept(token, said(self.tokenizer, token, request))?,
            None => false,
        };
        let (text, stopped) = self.text.push(token);
        let passed = self.text.passed();
        let kept = self.held.partition_point(|(begin, _)| *begin < passed);
        let scored = self.held.drain(..kept).map(|(_, scored)| scored).collect();
        let finish = match stopped {
            true => Some(Finish::Stop),
            false if whole => Some(Finish::Stop),
            false if self.len >= request.max_new => Some(Finish::Length),
            false => None,
        };
        if stopped {
            // What is left belongs to the stop string.
            self.held.clear();
        }
        Ok((Event::Piece { text, scored }, finish))
    }

    /// What was held back and is part of the reply after all.
    pub fn finish(&mut self) -> Event {
        let scored = self.held.drain(..).map(|(_, scored)| scored).collect();
        Event::Piece { text: self.text.finish(), scored }
    }

    /// What held it, for the next reply.
    pub fn release(self) -> Option<Hold> {
        self.hold
    }
}

/// What a token stands for in this reply.
fn said<'t>(tokenizer: &'t Tokenizer, token: u32, request: &Request) -> &'t [u8] {
    match tokenizer.is_special(token) && !request.shown.contains(&token) {
        true => &[],
        false => tokenizer.token_bytes(token).unwrap_or_default(),
    }
}
