//! One reply as it grows: sampled, scored, turned into text.

use std::collections::VecDeque;

use tcrt::sampling::Sampler;
use tcrt::tokenizer::Tokenizer;
use tcrt::{Result, TextStream};

use super::logprob::score;
use super::{Event, Finish, Request, Scored};

pub struct Reply<'t> {
    sampler: Sampler,
    text: TextStream<'t>,
    /// Scores of tokens that may still turn out to belong to a stop string, with the byte where each begins.
    held: VecDeque<(usize, Scored)>,
    /// The row as the model gave it, for scores: sampling changes it.
    row: Vec<f32>,
    pub len: usize,
}

impl<'t> Reply<'t> {
    pub fn new(request: &Request, tokenizer: &'t Tokenizer, vocab: usize) -> Result<Reply<'t>> {
        let text = TextStream::new(tokenizer, &request.prompt, &request.stop_strings)?;
        Ok(Reply {
            sampler: Sampler::new(request.sampling.clone(), vocab)?,
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
    pub fn push(&mut self, token: u32, request: &Request) -> (Event, Option<Finish>) {
        let (text, stopped) = self.text.push(token);
        let passed = self.text.passed();
        let kept = self.held.partition_point(|(begin, _)| *begin < passed);
        let scored = self.held.drain(..kept).map(|(_, scored)| scored).collect();
        let finish = match stopped {
            true => Some(Finish::Stop),
            false if self.len >= request.max_new => Some(Finish::Length),
            false => None,
        };
        if stopped {
            // What is left belongs to the stop string.
            self.held.clear();
        }
        (Event::Piece { text, scored }, finish)
    }

    /// What was held back and is part of the reply after all.
    pub fn finish(&mut self) -> Event {
        let scored = self.held.drain(..).map(|(_, scored)| scored).collect();
        Event::Piece { text: self.text.finish(), scored }
    }
}
