use std::time::Duration;

/// How one generation went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// What loading the model took.
    pub load: Duration,
    pub prompt_tokens: usize,
    /// Tokens of the prompt that the session still held from before.
    pub reused_tokens: usize,
    pub new_tokens: usize,
    /// Guesses of a draft, and those of them that were right.
    pub drafted_tokens: usize,
    pub accepted_tokens: usize,
    /// From the call to the first new token.
    pub first_token: Duration,
    /// Running the part of the prompt that was not held.
    pub prefill: Duration,
    /// From the first new token to the last.
    pub decode: Duration,
}

impl Stats {
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        rate(self.prompt_tokens - self.reused_tokens, self.prefill)
    }

    /// Of the tokens after the first, which the prompt's own logits gave.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        rate(self.new_tokens.saturating_sub(1), self.decode)
    }
}

fn rate(tokens: usize, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| tokens as f64 / time.as_secs_f64())
}
