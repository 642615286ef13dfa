//! From a reply's tokens to the text that may be shown: whole characters, and nothing of a stop string.

use crate::Result;
use crate::stop::StopMatcher;
use crate::tokenizer::{Decoder, Tokenizer, Utf8Stream};

pub struct TextStream<'t> {
    decoder: Decoder<'t>,
    stop: StopMatcher,
    utf8: Utf8Stream,
    bytes: Vec<u8>,
}

impl<'t> TextStream<'t> {
    pub fn new(tokenizer: &'t Tokenizer, prompt: &[u32], stop_strings: &[String]) -> Result<TextStream<'t>> {
        let mut decoder = tokenizer.decoder(true);
        // The prompt's text is known; decoding it leaves the decoder where the reply goes on.
        for token in prompt {
            decoder.push(*token);
        }
        Ok(TextStream { decoder, stop: StopMatcher::new(stop_strings)?, utf8: Utf8Stream::new(), bytes: Vec::new() })
    }

    /// The text that `token` makes safe to show, and whether a stop string has ended the reply.
    pub fn push(&mut self, token: u32) -> (String, bool) {
        self.bytes.clear();
        let stopped = self.stop.push(self.decoder.push(token), &mut self.bytes);
        (self.utf8.push(&self.bytes), stopped)
    }

    /// What was held back and is text after all.
    pub fn finish(&mut self) -> String {
        self.bytes.clear();
        self.stop.finish(&mut self.bytes);
        let text = self.utf8.push(&self.bytes);
        text + &self.utf8.finish()
    }
}
