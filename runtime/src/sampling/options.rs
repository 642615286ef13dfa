//! What a caller may ask of the sampler, and what it may not.

use crate::{Error, Result};

/// The defaults turn every step off but temperature 1: a plain draw from the model's distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: usize,
    /// In `[0, 1]`; 1 is off.
    pub top_p: f32,
    /// In `[0, 1]`; 0 is off.
    pub min_p: f32,
    /// Above 0; 1 is off.
    pub repetition_penalty: f32,
    /// 0 is off.
    pub presence_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// How many of the last tokens the penalties look at; `usize::MAX` is all of them.
    pub penalty_window: usize,
    pub seed: u64,
    /// Added to the logits of these tokens; `-inf` forbids one.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: usize::MAX,
            seed: 0,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplerOptions {
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    pub fn validate(&self, vocab: usize) -> Result<()> {
        require("temperature", self.temperature, "0 or more", self.temperature >= 0.0)?;
        require("top_p", self.top_p, "from 0 to 1", (0.0..=1.0).contains(&self.top_p))?;
        require("min_p", self.min_p, "from 0 to 1", (0.0..=1.0).contains(&self.min_p))?;
        require("repetition_penalty", self.repetition_penalty, "above 0", self.repetition_penalty > 0.0)?;
        require("presence_penalty", self.presence_penalty, "finite", true)?;
        require("frequency_penalty", self.frequency_penalty, "finite", true)?;
        if vocab == 0 || u32::try_from(vocab).is_err() {
            return Err(Error::invalid_argument(format!("a vocabulary of {vocab} tokens cannot be sampled")));
        }
        for &(id, bias) in &self.logit_bias {
            if id as usize >= vocab {
                let message = format!("logit_bias: token {id} is outside the vocabulary of {vocab}");
                return Err(Error::invalid_argument(message));
            }
            if bias.is_nan() || bias == f32::INFINITY {
                let message = format!("logit_bias: the bias of token {id} is {bias}; it must be finite or -inf");
                return Err(Error::invalid_argument(message));
            }
        }
        Ok(())
    }

    pub(super) fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

fn require(name: &str, value: f32, must: &str, holds: bool) -> Result<()> {
    if holds && value.is_finite() {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{name} is {value}; it must be {must}")))
}
