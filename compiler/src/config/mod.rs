//! The shape of a model: what every checkpoint format says about it, in one form.

pub mod hf;
mod keys;
pub mod meta;
pub mod rope;
#[cfg(test)]
mod tests;

pub use keys::Keys;

/// Everything the model builder needs to know besides the weights. Numbers are checked when a value is made
/// ([`ModelConfig::check`]), so later stages can rely on them.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// What people call the model; only shown.
    pub name: String,
    pub family: Family,
    pub dim: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub vocab: usize,
    /// Positions the model was made for, context extension included.
    pub max_positions: usize,
    pub norm_eps: f32,
    pub rope: Rope,
    pub window: Option<Window>,
    /// The head is the embedding: there is no `head` tensor.
    pub tied: bool,
    pub qkv_bias: bool,
    pub o_bias: bool,
    pub mlp_bias: bool,
    /// RMS norms over each head of q and k, before rope.
    pub qk_norm: bool,
    pub embedding_multiplier: f32,
    pub residual_multiplier: f32,
    /// Logits are divided by this.
    pub logits_divisor: f32,
    /// What replaces 1/sqrt(head_dim).
    pub attention_scale: Option<f32>,
    pub bos: Option<u32>,
    pub stop_tokens: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Llama,
    Mistral,
    Granite,
    Qwen2,
    Qwen3,
}

impl Family {
    pub const ALL: [Family; 5] = [Family::Llama, Family::Mistral, Family::Granite, Family::Qwen2, Family::Qwen3];

    /// The `model_type` of Hugging Face's configs, and `general.architecture` of GGUF.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Mistral => "mistral",
            Family::Granite => "granite",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }

    pub fn from_name(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// Layers from `from_layer` on see only the last `size` positions (their own included).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub size: usize,
    pub from_layer: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    pub theta: f64,
    pub scaling: RopeScaling,
}

/// How the rotary frequencies differ from `theta^(-2i/head_dim)`. Formulas: `modeling_rope_utils.py` of transformers.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
    /// theta grows once a sequence is longer than `original` positions.
    Dynamic {
        factor: f64,
        original: usize,
    },
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: usize,
    },
    Yarn {
        factor: f64,
        original: usize,
        beta_fast: f64,
        beta_slow: f64,
        /// Multiplies cos and sin.
        magnitude: f64,
        /// Round the ramp's ends outwards to whole dimensions.
        truncate: bool,
    },
    /// Frequency `i` is divided by the `i`th factor (head_dim / 2 of them), as GGUF's `rope_freqs.weight` says it.
    Factors(Vec<f32>),
}

impl ModelConfig {
    /// A Llama without sizes and without anything special, to begin from.
    pub(crate) fn plain() -> ModelConfig {
        ModelConfig {
            name: String::new(),
            family: Family::Llama,
            dim: 0,
            layers: 0,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            ffn: 0,
            vocab: 0,
            max_positions: 0,
            norm_eps: 1e-5,
            rope: Rope { theta: 10000.0, scaling: RopeScaling::None },
            window: None,
            tied: false,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            embedding_multiplier: 1.0,
            residual_multiplier: 1.0,
            logits_divisor: 1.0,
            attention_scale: None,
            bos: None,
            stop_tokens: Vec::new(),
        }
    }

    /// Rows of q, and columns of o.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Rows of k and of v.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Refuses numbers that no model has, so that later stages can multiply and divide without care.
    pub fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        let positive = |what: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(format!("{what} is {value}, but must be a positive number")),
        };
        positive("rms_norm_eps", f64::from(self.norm_eps))?;
        positive("the embedding multiplier", f64::from(self.embedding_multiplier))?;
        positive("the residual multiplier", f64::from(self.residual_multiplier))?;
        positive("the logits divisor", f64::from(self.logits_divisor))?;
        positive("the attention scale", f64::from(self.attention_scale.unwrap_or(1.0)))?;
        positive("rope_theta", self.rope.theta)?;
        self.rope.scaling.check(self.head_dim, positive)
    }

    fn check_sizes(&self) -> Result<(), String> {
        let within = |what: &str, value: usize, limit: usize| match (1..=limit).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} is {value}, but must be between 1 and {limit}")),
        };
        within("the width", self.dim, 1 << 20)?;
        within("the number of layers", self.layers, 1 << 12)?;
        within("the number of heads", self.heads, 1 << 12)?;
        within("the number of key/value heads", self.kv_heads, self.heads)?;
        within("the width of a head", self.head_dim, 1 << 12)?;
        within("the width of the feed-forward layer", self.ffn, 1 << 22)?;
        within("the vocabulary", self.vocab, 1 << 24)?;
        within("the number of positions", self.max_positions, 1 << 28)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} key/value heads evenly", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("heads are {} wide, but rope needs an even width", self.head_dim));
        }
        if let Some(window) = self.window {
            within("the sliding window", window.size, 1 << 28)?;
        }
        let vocab = self.vocab;
        match self.bos.iter().chain(&self.stop_tokens).find(|token| **token as usize >= vocab) {
            Some(token) => Err(format!("token {token} is named as a special one, but the vocabulary has {vocab}")),
            None => Ok(()),
        }
    }
}

impl RopeScaling {
    fn check(&self, head_dim: usize, positive: impl Fn(&str, f64) -> Result<(), String>) -> Result<(), String> {
        let original_positions = |original: usize| positive("the original number of positions", original as f64);
        match self {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("the rope scaling factor", *factor),
            RopeScaling::Dynamic { factor, original } => {
                positive("the rope scaling factor", *factor)?;
                original_positions(*original)
            }
            RopeScaling::Llama3 { factor, low, high, original } => {
                positive("the rope scaling factor", *factor)?;
                positive("low_freq_factor", *low)?;
                positive("high_freq_factor minus low_freq_factor", *high - *low)?;
                original_positions(*original)
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, magnitude, .. } => {
                positive("the rope scaling factor", *factor)?;
                positive("beta_fast", *beta_fast)?;
                positive("beta_slow", *beta_slow)?;
                positive("the attention factor", *magnitude)?;
                original_positions(*original)
            }
            RopeScaling::Factors(factors) if factors.len() != head_dim / 2 => {
                Err(format!("there are {} rope factors, but heads have {} frequencies", factors.len(), head_dim / 2))
            }
            RopeScaling::Factors(factors) => {
                factors.iter().try_for_each(|factor| positive("a rope factor", f64::from(*factor)))
            }
        }
    }
}
