//! Rope's parameters, as configs of Hugging Face spell them.

use serde_json::json;

use super::keys::Keys;
use super::{Rope, RopeScaling};

/// The rope, and how many positions the model has with it. Configs older than transformers 5 have `rope_theta` and
/// `rope_scaling`, newer ones both in `rope_parameters`.
pub fn parse_hf(keys: &Keys, default_positions: usize) -> Result<(Rope, usize), String> {
    let positions = keys.size("max_position_embeddings")?.unwrap_or(default_positions);
    let outer_theta = keys.number("rope_theta")?;
    let outer_original = keys.size("original_max_position_embeddings")?;
    let trained = keys.size("max_sequence_length")?.unwrap_or(positions);
    let (key, inner) = match (keys.value("rope_parameters"), keys.value("rope_scaling")) {
        (Some(_), Some(_)) => return Err("has both \"rope_parameters\" and \"rope_scaling\"".to_string()),
        (Some(inner), None) => ("rope_parameters", inner),
        (None, Some(inner)) => ("rope_scaling", inner),
        (None, None) => {
            return Ok((Rope { theta: outer_theta.unwrap_or(10000.0), scaling: RopeScaling::None }, positions));
        }
    };
    let parsed = (|| {
        let inner = Keys::new(inner)?;
        let theta = inner.number("rope_theta")?.or(outer_theta).unwrap_or(10000.0);
        let original = outer_original.or(inner.size("original_max_position_embeddings")?);
        let scaling = scaling(&inner, positions, original)?;
        inner.must_be("partial_rotary_factor", &[json!(1)])?;
        inner.ignore(&["finetuned"]);
        inner.finish()?;
        Ok(Rope { theta, scaling })
    })();
    let rope = parsed.map_err(|e: String| format!("\"{key}\": {e}"))?;
    let positions = extended(&rope.scaling, positions, trained);
    Ok((rope, positions))
}

fn scaling(keys: &Keys, positions: usize, original: Option<usize>) -> Result<RopeScaling, String> {
    let kind = keys.text("rope_type")?.or(keys.text("type")?).unwrap_or("default");
    let needed = |key: &str| keys.number(key)?.ok_or_else(|| format!("\"{key}\" is missing"));
    let original_or_all = original.unwrap_or(positions);
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: needed("factor")? },
        "dynamic" => RopeScaling::Dynamic { factor: needed("factor")?, original: positions },
        "llama3" => RopeScaling::Llama3 {
            factor: needed("factor")?,
            low: needed("low_freq_factor")?,
            high: needed("high_freq_factor")?,
            original: original_or_all,
        },
        "yarn" => yarn(keys, positions, original_or_all)?,
        other => return Err(format!("the rope type \"{other}\" is not supported")),
    })
}

/// `_compute_yarn_parameters` of transformers.
fn yarn(keys: &Keys, positions: usize, original: usize) -> Result<RopeScaling, String> {
    let ratio = positions as f64 / original.max(1) as f64;
    let factor = keys.number("factor")?.unwrap_or(ratio);
    // What counts as absent there does here: zero as well as null.
    let nonzero = |key: &str| Ok::<_, String>(keys.number(key)?.filter(|value| *value != 0.0));
    let (mscale, mscale_all) = (nonzero("mscale")?, nonzero("mscale_all_dim")?);
    let resolved = match (mscale, mscale_all) {
        (Some(scale), Some(all)) => magnitude(factor, scale) / magnitude(factor, all),
        _ => magnitude(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        original,
        beta_fast: nonzero("beta_fast")?.unwrap_or(32.0),
        beta_slow: nonzero("beta_slow")?.unwrap_or(1.0),
        magnitude: keys.number("attention_factor")?.unwrap_or(resolved),
        truncate: keys.flag("truncate")?.unwrap_or(true),
    })
}

/// YaRN's correction of attention's temperature, as a factor of cos and sin.
pub fn magnitude(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

/// The positions a model has with its rope. Dynamic scaling and YaRN are for going beyond `max_position_embeddings`; whether
/// linear scaling is already counted in it differs, so it is only exceeded where the config says how far training went.
pub fn extended(scaling: &RopeScaling, positions: usize, trained: usize) -> usize {
    // A float too large for usize saturates, and is refused with the other sizes.
    let times = |factor: f64, original: usize| (factor * original as f64).round() as usize;
    match *scaling {
        RopeScaling::Dynamic { factor, original } => positions.max(times(factor, original)),
        RopeScaling::Yarn { factor, original, .. } => positions.max(times(factor, original)),
        RopeScaling::Linear { .. } => positions.max(trained),
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) => positions,
    }
}
