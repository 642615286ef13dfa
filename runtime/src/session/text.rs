//! From a reply's tokens to the text that may be shown: whole characters, and nothing of a stop string.

use crate::Result;
use crate::stop::StopMatcher;
use crate::tokenizer::{Decoder, Tokenizer, Utf8Stream};

pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    decoder: Decoder<'t>,
    stop: StopMatcher,
    utf8: Utf8Stream,
    bytes: Vec<u8>,
    /// Special tokens that are text here.
    shown: Vec<u32>,
    decoded: usize,
    passed: usize,
}

impl<'t> TextStream<'t> {
    pub fn new(tokenizer: &'t Tokenizer, prompt: &[u32], stop_strings: &[String]) -> Result<TextStream<'t>> {
        let mut decoder = tokenizer.decoder(true);
        // The prompt's text is known; decoding it leaves the decoder where the reply goes on.
        for token in prompt {
            decoder.push(*token);
        }
        let (stop, utf8) = (StopMatcher::new(stop_strings)?, Utf8Stream::new());
        Ok(TextStream { tokenizer, decoder, stop, utf8, bytes: Vec::new(), shown: Vec::new(), decoded: 0, passed: 0 })
    }

    /// These special tokens come out as their text, where others are left out.
    #[must_use]
    pub fn showing(mut self, special: Vec<u32>) -> Self {
        self.shown = special;
        self
    }

    /// The text that `token` makes safe to show, and whether a stop string has ended the reply.
    pub fn push(&mut self, token: u32) -> (String, bool) {
        let piece = match self.shown.contains(&token) {
            true => self.tokenizer.token_bytes(token).unwrap_or_default(),
            false => self.decoder.push(token),
        };
        self.bytes.clear();
        let stopped = self.stop.push(piece, &mut self.bytes);
        self.decoded += piece.len();
        self.passed += self.bytes.len();
        (self.utf8.push(&self.bytes), stopped)
    }

    /// Bytes that the tokens so far stand for.
    pub fn decoded(&self) -> usize {
        self.decoded
    }

    /// How many of them can no longer be part of a stop string.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// What was held back and is text after all.
    pub fn finish(&mut self) -> String {
        self.bytes.clear();
        self.stop.finish(&mut self.bytes);
        self.passed += self.bytes.len();
        let text = self.utf8.push(&self.bytes);
        text + &self.utf8.finish()
    }
}
