//! Hugging Face's `config.json`: which keys of which architecture are understood, which do not matter for inference. Everything
//! else is refused by its name, because a key that is not understood may change the maths.
//!
//! Defaults are those of the `configuration_*.py` of transformers.

use serde_json::{Value, json};

use super::keys::Keys;
use super::{Family, ModelConfig, Window, rope};

/// Keys of any architecture that say nothing about a forward pass at inference.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// What differs from one architecture to another.
struct Defaults {
    kv_heads: Option<usize>,
    head_dim: Option<usize>,
    max_positions: usize,
    /// `attention_bias` is a key, and is about o as well.
    attention_bias: bool,
    mlp_bias: bool,
}

fn defaults(family: Family) -> Defaults {
    let llama = Defaults { kv_heads: None, head_dim: None, max_positions: 2048, attention_bias: true, mlp_bias: true };
    let qwen2 = Defaults { kv_heads: Some(32), max_positions: 32768, attention_bias: false, mlp_bias: false, ..llama };
    match family {
        Family::Llama | Family::Granite => llama,
        Family::Mistral => Defaults { kv_heads: Some(8), max_positions: 4096 * 32, ..qwen2 },
        Family::Qwen2 => qwen2,
        Family::Qwen3 => Defaults { head_dim: Some(128), attention_bias: true, ..qwen2 },
    }
}

/// What `config.json` says.
pub fn parse(config: &Value) -> Result<ModelConfig, String> {
    let keys = Keys::new(config)?;
    let family = family(&keys)?;
    let defaults = defaults(family);
    let (dim, heads) = (keys.required("hidden_size")?, keys.required("num_attention_heads")?);
    let kv_default = if keys.has("num_key_value_heads") { None } else { defaults.kv_heads };
    let head_dim = keys.size("head_dim")?.or(defaults.head_dim);
    let own_flag = |own: bool, key: &str| if own { keys.flag(key) } else { Ok(None) };
    let attention_bias = own_flag(defaults.attention_bias, "attention_bias")?.unwrap_or(false);
    let layers = keys.required("num_hidden_layers")?;
    let (rope, max_positions) = rope::parse_hf(&keys, defaults.max_positions)?;
    let mut model = ModelConfig {
        name: name(&keys)?,
        family,
        dim,
        layers,
        heads,
        kv_heads: keys.size("num_key_value_heads")?.or(kv_default).unwrap_or(heads),
        head_dim: head_dim.or(dim.checked_div(heads)).unwrap_or(0),
        ffn: keys.required("intermediate_size")?,
        vocab: keys.required("vocab_size")?,
        max_positions,
        norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope,
        window: window(&keys, family, layers)?,
        tied: keys.flag("tie_word_embeddings")?.unwrap_or(false),
        qkv_bias: attention_bias || family == Family::Qwen2,
        o_bias: attention_bias,
        mlp_bias: own_flag(defaults.mlp_bias, "mlp_bias")?.unwrap_or(false),
        qk_norm: family == Family::Qwen3,
        bos: keys.tokens("bos_token_id")?.first().copied(),
        stop_tokens: keys.tokens("eos_token_id")?,
        ..ModelConfig::plain()
    };
    if family == Family::Granite {
        multipliers(&keys, &mut model)?;
    }
    refuse_other_maths(&keys)?;
    // How the weights are stored is the checkpoint reader's matter.
    keys.ignore(&["quantization_config"]);
    keys.ignore(HARMLESS);
    keys.finish()?;
    model.check()?;
    Ok(model)
}

fn family(keys: &Keys) -> Result<Family, String> {
    let model_type = keys.text("model_type")?.ok_or("\"model_type\" is missing")?;
    let known = || Family::ALL.map(Family::name).join(", ");
    let family = Family::from_name(model_type)
        .ok_or_else(|| format!("the architecture \"{model_type}\" is not supported ({} are)", known()))?;
    let Some(architectures) = keys.value("architectures") else { return Ok(family) };
    let names: Vec<&str> = architectures.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let causal = format!("{}ForCausalLM", family.name());
    match names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(&causal)) {
        true => Ok(family),
        false => Err(format!("\"architectures\": {architectures} does not generate text")),
    }
}

/// The last part of where the checkpoint was published, which is all that a config says.
fn name(keys: &Keys) -> Result<String, String> {
    let path = keys.text("_name_or_path")?.unwrap_or_default();
    Ok(path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_string())
}

fn multipliers(keys: &Keys, model: &mut ModelConfig) -> Result<(), String> {
    let multiplier = |key: &str| Ok::<f32, String>(keys.number(key)?.unwrap_or(1.0) as f32);
    model.embedding_multiplier = multiplier("embedding_multiplier")?;
    model.residual_multiplier = multiplier("residual_multiplier")?;
    model.logits_divisor = multiplier("logits_scaling")?;
    model.attention_scale = Some(multiplier("attention_multiplier")?);
    Ok(())
}

fn window(keys: &Keys, family: Family, layers: usize) -> Result<Option<Window>, String> {
    // Absent, it has a default; null, it is off.
    let size = keys.size("sliding_window")?.or(if keys.has("sliding_window") { None } else { default_window(family) });
    match family {
        Family::Llama | Family::Granite => match size {
            None => Ok(None),
            Some(size) => Err(format!("\"sliding_window\": {size} is not supported for {}", family.name())),
        },
        Family::Mistral => Ok(size.map(|size| Window { size, from_layer: 0 })),
        Family::Qwen2 | Family::Qwen3 => qwen_window(keys, size, layers),
    }
}

fn default_window(family: Family) -> Option<usize> {
    matches!(family, Family::Mistral | Family::Qwen2 | Family::Qwen3).then_some(4096)
}

/// Qwen's layers from `max_window_layers` on have a window; `layer_types` says the same, layer by layer.
fn qwen_window(keys: &Keys, size: Option<usize>, layers: usize) -> Result<Option<Window>, String> {
    let size = size.filter(|_| keys.flag("use_sliding_window") == Ok(Some(true)));
    let from_layer = keys.size("max_window_layers")?.unwrap_or(28);
    let from_layer = match keys.value("layer_types") {
        None => from_layer,
        Some(types) => first_sliding(types, layers)?,
    };
    match size {
        Some(size) if from_layer < layers => Ok(Some(Window { size, from_layer })),
        None if from_layer < layers && keys.has("layer_types") => {
            Err("\"layer_types\" has sliding layers, but there is no sliding window".to_string())
        }
        _ => Ok(None),
    }
}

fn first_sliding(types: &Value, layers: usize) -> Result<usize, String> {
    let kinds: Vec<&str> = types.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let full = kinds.iter().take_while(|kind| **kind == "full_attention").count();
    let sliding = kinds.iter().skip(full).all(|kind| *kind == "sliding_attention");
    match kinds.len() == layers && sliding {
        true => Ok(full),
        false => Err(format!("\"layer_types\": {types} is not full attention followed by sliding attention")),
    }
}

/// Keys that change the maths, and the values with which they do not.
fn refuse_other_maths(keys: &Keys) -> Result<(), String> {
    keys.must_be("hidden_act", &[json!("silu"), json!("swish")])?;
    keys.must_be("hidden_activation", &[json!("silu"), json!("swish")])?;
    keys.must_be("partial_rotary_factor", &[json!(1)])?;
    keys.must_be("rope_interleaved", &[json!(false)])?;
    keys.must_be("use_mrope", &[json!(false)])?;
    keys.must_be("is_causal", &[json!(true)])?;
    Ok(())
}

/// What `generation_config.json` adds to the config.
#[derive(Debug)]
pub struct GenerationTokens {
    pub bos: Option<u32>,
    pub stop: Vec<u32>,
}

pub fn generation_tokens(generation: &Value) -> Result<GenerationTokens, String> {
    let keys = Keys::new(generation)?;
    Ok(GenerationTokens { bos: keys.tokens("bos_token_id")?.first().copied(), stop: keys.tokens("eos_token_id")? })
}
