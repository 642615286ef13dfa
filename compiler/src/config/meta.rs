//! Meta's `params.json`, and the shapes that gpt-fast, torchchat and llama2.c's training write with keys of their own.

use serde_json::{Value, json};

use super::keys::Keys;
use super::{ModelConfig, Rope, RopeScaling};

/// What a checkpoint's tensors say about its shape, where the JSON does not, and to check what it says.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub vocab: usize,
    pub ffn: usize,
    pub tied: bool,
}

/// Keys about training, or about limits of another program.
const HARMLESS: &[&str] = &["dropout", "flash", "max_batch_size", "attn_dropout", "model_type"];

/// Whether a JSON file is of this kind rather than Hugging Face's.
pub fn recognise(params: &Value) -> bool {
    params.get("dim").is_some()
}

pub fn parse(params: &Value, seen: Seen) -> Result<ModelConfig, String> {
    let keys = Keys::new(params)?;
    let dim = keys.required("dim")?;
    let heads = either(&keys, ["n_heads", "n_head"])?.ok_or("\"n_heads\" is missing")?;
    let rope = rope(&keys, dim)?;
    let positions = either(&keys, ["max_seq_len", "max_seq_length"])?.or(keys.size("block_size")?);
    let model = ModelConfig {
        dim,
        layers: either(&keys, ["n_layers", "n_layer"])?.ok_or("\"n_layers\" is missing")?,
        heads,
        kv_heads: either(&keys, ["n_kv_heads", "n_local_heads"])?.unwrap_or(heads),
        head_dim: keys.size("head_dim")?.or(dim.checked_div(heads)).unwrap_or(0),
        ffn: ffn(&keys, dim, seen)?,
        vocab: either(&keys, ["vocab_size", "vocab_size"])?.unwrap_or(seen.vocab),
        max_positions: positions.unwrap_or_else(|| usual_positions(&rope)),
        norm_eps: keys.number("norm_eps")?.unwrap_or(1e-5) as f32,
        rope,
        tied: seen.tied,
        ..ModelConfig::plain()
    };
    // How the weights are stored is the checkpoint reader's matter.
    keys.ignore(&["quantization_args"]);
    keys.must_be("lora_args", &[])?;
    keys.must_be("tie_word_embeddings", &[json!(seen.tied)])?;
    keys.ignore(HARMLESS);
    keys.finish()?;
    model.check()?;
    Ok(model)
}

/// A size under one of two names; -1 stands for "as the rest of the model has it".
fn either(keys: &Keys, names: [&str; 2]) -> Result<Option<usize>, String> {
    for name in names {
        match keys.value(name) {
            Some(value) if value.as_i64() == Some(-1) => {}
            Some(_) => return keys.size(name),
            None => {}
        }
    }
    Ok(None)
}

/// Llama's rule for the width of the feed-forward layer, where the parts of the rule are given: it must then agree with the tensors.
fn ffn(keys: &Keys, dim: usize, seen: Seen) -> Result<usize, String> {
    let stated = either(keys, ["hidden_dim", "intermediate_size"])?;
    let multiplier = keys.number("ffn_dim_multiplier")?.unwrap_or(1.0);
    let Some(multiple) = keys.size("multiple_of")?.filter(|_| stated.is_none()) else {
        return Ok(stated.unwrap_or(seen.ffn));
    };
    let two_thirds = 8 * dim.min(1 << 40) / 3;
    // A float too large for usize saturates, and then disagrees with the tensors.
    let scaled = (multiplier * two_thirds as f64) as usize;
    match scaled.checked_next_multiple_of(multiple) {
        Some(ffn) if ffn == seen.ffn => Ok(ffn),
        ffn => Err(format!(
            "\"multiple_of\" and \"ffn_dim_multiplier\" make the feed-forward layer {} wide, but its tensors are {} wide",
            ffn.unwrap_or(scaled),
            seen.ffn
        )),
    }
}

/// Llama 3.1 scales rope by 8, Llama 3.2 by 32; `params.json` says only that it is scaled. The widest Llama 3.2 is 3072 wide,
/// the narrowest Llama 3.1 4096.
fn rope(keys: &Keys, dim: usize) -> Result<Rope, String> {
    let theta = keys.number("rope_theta")?.or(keys.number("rope_base")?).unwrap_or(10000.0);
    let llama3 = |factor| RopeScaling::Llama3 { factor, low: 1.0, high: 4.0, original: 8192 };
    let usual = if dim <= 3072 { 32.0 } else { 8.0 };
    let scaled = keys.flag("use_scaled_rope")?.unwrap_or(false);
    let factor = keys.number("rope_scaling_factor")?;
    let scaling = match keys.value("rope_scaling") {
        Some(inner) => gpt_fast_scaling(inner)?,
        None if scaled => llama3(factor.unwrap_or(usual)),
        None => RopeScaling::None,
    };
    Ok(Rope { theta, scaling })
}

/// gpt-fast and torchchat write the constants out.
fn gpt_fast_scaling(inner: &Value) -> Result<RopeScaling, String> {
    let keys = Keys::new(inner).map_err(|e| format!("\"rope_scaling\": {e}"))?;
    let needed = |key: &str| keys.number(key)?.ok_or_else(|| format!("\"rope_scaling\": \"{key}\" is missing"));
    let scaling = RopeScaling::Llama3 {
        factor: needed("factor")?,
        low: needed("low_freq_factor")?,
        high: needed("high_freq_factor")?,
        original: keys.required("original_max_position_embeddings")?,
    };
    keys.must_be("rope_type", &[json!("llama3")])?;
    keys.finish()?;
    Ok(scaling)
}

/// What Meta's models were trained for; only the thetas tell them apart: Llama 1 and 2, Llama 3, CodeLlama.
fn usual_positions(rope: &Rope) -> usize {
    match rope.scaling {
        RopeScaling::Llama3 { .. } => 131072,
        _ if rope.theta == 500000.0 => 8192,
        _ if rope.theta == 1000000.0 => 16384,
        _ => 4096,
    }
}
