//! The config that a GGUF file's metadata describes.

use super::super::error::{CheckpointError, Result, error};
use super::super::tensor::Tensor;
use super::header::{Header, Value};
use crate::config::{Family, ModelConfig, Rope, RopeScaling, Window, rope};

/// Keys below the architecture's name that say nothing that the tensors do not say, or nothing about a forward pass.
const HARMLESS: &[&str] = &[
    "vocab_size",
    "tensor_data_layout",
    "rope.scaling.finetuned",
    "quantize_imatrix.file",
    "attention.shared_kv_layers",
];

/// Texts of control tokens that end a turn or a text, whichever of them the metadata names; as llama.cpp has it.
const ENDINGS: &[&str] = &[
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end▁of▁sentence|>",
    "<EOT>",
];

/// Metadata of one architecture, read key by key so that a key nobody asked for is noticed.
struct Keys<'a> {
    header: &'a Header,
    prefix: String,
    read: std::cell::RefCell<Vec<String>>,
}

pub fn parse(header: &Header) -> Result<ModelConfig> {
    let architecture = match header.metadata.get("general.architecture") {
        Some(Value::Text(name)) => name.clone(),
        _ => return Err(error!("\"general.architecture\" is missing")),
    };
    let family = Family::from_name(&architecture)
        .ok_or_else(|| error!("the architecture \"{architecture}\" is not supported"))?;
    let keys = Keys { header, prefix: format!("{architecture}."), read: std::cell::RefCell::default() };
    let (dim, heads) = (keys.required("embedding_length")?, keys.required("attention.head_count")?);
    let head_dim = keys.size("attention.key_length")?.or(dim.checked_div(heads)).unwrap_or(0);
    for same in ["attention.value_length", "rope.dimension_count"] {
        keys.must_be(same, head_dim)?;
    }
    let rope = rope_of(&keys, head_dim)?;
    let positions = keys.required("context_length")?;
    let mut model = ModelConfig {
        name: header.text("general.name").unwrap_or_default(),
        family,
        dim,
        layers: keys.required("block_count")?,
        heads,
        kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        ffn: keys.required("feed_forward_length")?,
        vocab: header.rows("token_embd.weight")?,
        max_positions: rope::extended(&rope.scaling, positions, positions),
        norm_eps: keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5) as f32,
        rope,
        window: keys.size("attention.sliding_window")?.map(|size| Window { size, from_layer: 0 }),
        tied: !header.tensors.contains_key("output.weight"),
        qkv_bias: header.tensors.contains_key("blk.0.attn_q.bias"),
        o_bias: header.tensors.contains_key("blk.0.attn_output.bias"),
        mlp_bias: header.tensors.contains_key("blk.0.ffn_up.bias"),
        qk_norm: family == Family::Qwen3,
        bos: header.token("bos"),
        stop_tokens: stop_tokens(header),
        ..ModelConfig::plain()
    };
    if family == Family::Granite {
        multipliers(&keys, &mut model)?;
    }
    keys.must_be("expert_count", 0)?;
    keys.must_be("expert_used_count", 0)?;
    keys.finish()?;
    model.check()?;
    Ok(model)
}

fn multipliers(keys: &Keys, model: &mut ModelConfig) -> Result<()> {
    let multiplier = |key: &str| Ok::<f32, CheckpointError>(keys.number(key)?.unwrap_or(1.0) as f32);
    model.embedding_multiplier = multiplier("embedding_scale")?;
    model.residual_multiplier = multiplier("residual_scale")?;
    model.logits_divisor = multiplier("logit_scale")?;
    model.attention_scale = Some(multiplier("attention.scale")?);
    Ok(())
}

/// Llama 3.1's scaling comes as a tensor of factors, everything else as keys.
fn rope_of(keys: &Keys, head_dim: usize) -> Result<Rope> {
    let theta = keys.number("rope.freq_base")?.unwrap_or(10000.0);
    let factors = match keys.header.tensors.get("rope_freqs.weight") {
        Some(tensor) => Some(tensor.as_ref().map_err(Clone::clone).and_then(Tensor::read_vector)?),
        None => None,
    };
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number("rope.scale_linear")?,
    };
    let kind = keys.text("rope.scaling.type")?.unwrap_or(if factor.is_some() { "linear" } else { "none" }.to_string());
    let needed = || factor.ok_or_else(|| error!("\"rope.scaling.factor\" is missing"));
    let scaling = match (kind.as_str(), factors) {
        ("none", Some(factors)) => RopeScaling::Factors(factors),
        ("none", None) => RopeScaling::None,
        ("linear", None) => RopeScaling::Linear { factor: needed()? },
        ("yarn", None) => yarn(keys, needed()?)?,
        (_, Some(_)) => return Err(error!("has both rope_freqs.weight and rope scaling \"{kind}\"")),
        (_, None) => return Err(error!("the rope scaling \"{kind}\" is not supported")),
    };
    match scaling {
        RopeScaling::Factors(factors) if factors.len() != head_dim / 2 => {
            Err(error!("rope_freqs.weight has {} factors for heads of {head_dim}", factors.len()))
        }
        scaling => Ok(Rope { theta, scaling }),
    }
}

/// llama.cpp's YaRN (`rope_yarn`), which is transformers' with whole dimensions.
fn yarn(keys: &Keys, factor: f64) -> Result<RopeScaling> {
    let original = match keys.size("rope.scaling.original_context_length")? {
        Some(original) => original,
        None => keys.required("context_length")?,
    };
    if keys.number("rope.scaling.yarn_ext_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(error!("\"rope.scaling.yarn_ext_factor\" other than 1 is not supported"));
    }
    let attention = match keys.number("rope.scaling.yarn_attn_factor")? {
        Some(factor) => factor,
        None => keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        original,
        beta_fast: keys.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        beta_slow: keys.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        magnitude: attention * rope::magnitude(factor, 1.0),
        truncate: true,
    })
}

fn stop_tokens(header: &Header) -> Vec<u32> {
    let mut tokens: Vec<u32> = ["eos", "eot", "eom"].iter().filter_map(|name| header.token(name)).collect();
    let texts = header.texts("tokenizer.ggml.tokens");
    let kinds = header.ints("tokenizer.ggml.token_type");
    for (token, text) in texts.iter().enumerate() {
        let control = kinds.get(token) == Some(&CONTROL);
        if control && ENDINGS.contains(&text.as_str()) && !tokens.contains(&(token as u32)) {
            tokens.push(token as u32);
        }
    }
    tokens.dedup();
    tokens
}

/// `LLAMA_TOKEN_TYPE_CONTROL`.
const CONTROL: i64 = 3;

impl Header {
    pub fn text(&self, key: &str) -> Option<String> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub fn texts(&self, key: &str) -> &[String] {
        match self.metadata.get(key) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    pub fn ints(&self, key: &str) -> &[i64] {
        match self.metadata.get(key) {
            Some(Value::Ints(ints)) => ints,
            _ => &[],
        }
    }

    /// The number of the token with a special purpose.
    pub fn token(&self, purpose: &str) -> Option<u32> {
        match self.metadata.get(&format!("tokenizer.ggml.{purpose}_token_id")) {
            Some(Value::Int(token)) => u32::try_from(*token).ok(),
            _ => None,
        }
    }

    fn rows(&self, tensor: &str) -> Result<usize> {
        match self.tensors.get(tensor) {
            Some(Ok(tensor)) => Ok(tensor.rows()),
            Some(Err(e)) => Err(e.clone()),
            None => Err(error!("tensor {tensor} is missing")),
        }
    }
}

impl Keys<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        let whole = format!("{}{key}", self.prefix);
        let value = self.header.metadata.get(&whole);
        self.read.borrow_mut().push(whole);
        value
    }

    fn size(&self, key: &str) -> Result<Option<usize>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Int(int)) => usize::try_from(*int).map(Some).map_err(|_| self.odd(key, "is not a size")),
            Some(Value::Ints(ints)) => self.size_of_all_layers(key, ints).map(Some),
            Some(_) => Err(self.odd(key, "is not a whole number")),
        }
    }

    /// Some writers give a value for each layer; only one value for all is supported.
    fn size_of_all_layers(&self, key: &str, ints: &[i64]) -> Result<usize> {
        match ints.first().and_then(|first| usize::try_from(*first).ok()) {
            Some(first) if ints.iter().all(|int| *int == first as i64) => Ok(first),
            _ => Err(self.odd(key, "differs from layer to layer")),
        }
    }

    fn required(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.odd(key, "is missing"))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(float)) if float.is_finite() => Ok(Some(*float)),
            Some(Value::Int(int)) => Ok(Some(*int as f64)),
            Some(_) => Err(self.odd(key, "is not a number")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.odd(key, "is not a string")),
        }
    }

    fn must_be(&self, key: &str, expected: usize) -> Result<()> {
        match self.size(key)? {
            Some(size) if size != expected => Err(self.odd(key, format!("is {size}, not {expected}"))),
            _ => Ok(()),
        }
    }

    fn odd(&self, key: &str, what: impl std::fmt::Display) -> CheckpointError {
        error!("\"{}{key}\" {what}", self.prefix)
    }

    fn finish(&self) -> Result<()> {
        let read = self.read.borrow();
        let own = self.header.metadata.keys().filter_map(|key| Some((key, key.strip_prefix(&self.prefix)?)));
        for (whole, key) in own {
            if !HARMLESS.contains(&key) && !read.contains(whole) {
                return Err(error!("the key \"{whole}\" is unknown and could change the maths"));
            }
        }
        Ok(())
    }
}
