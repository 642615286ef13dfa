//! What `tcc inspect` shows of a checkpoint.

use std::fmt;

use serde::Serialize;

use super::{Checkpoint, VocabularySource};
use crate::config::{ModelConfig, RopeScaling};

/// A checkpoint, for people (`Display`) and for programs (`Serialize`).
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub format: &'static str,
    pub path: String,
    /// What the config says, in the order in which to show it.
    pub config: Vec<(&'static str, String)>,
    pub vocabulary: String,
    pub has_chat_template: bool,
    pub parameters: u64,
    pub bytes: u64,
    pub tensors: Vec<TensorSummary>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TensorSummary {
    /// The canonical name, and the checkpoint's own.
    pub name: String,
    pub stored_as: String,
    pub shape: Vec<usize>,
    pub encoding: &'static str,
    pub bytes: u64,
    /// The quantized numbers are carried over as they are.
    pub grid: Option<String>,
}

pub fn summarize(checkpoint: &Checkpoint) -> Summary {
    let mut tensors: Vec<TensorSummary> = checkpoint
        .tensors
        .iter()
        .map(|(name, tensor)| TensorSummary {
            name: name.clone(),
            stored_as: tensor.name().to_string(),
            shape: tensor.shape().to_vec(),
            encoding: tensor.encoding_name(),
            bytes: tensor.stored_bytes() as u64,
            grid: tensor.grid().map(|grid| format!("{} g{}", grid.kind.name(), grid.group)),
        })
        .collect();
    // Layer 2 comes before layer 10.
    let layer = |name: &str| name.split('.').nth(1).and_then(|number| number.parse::<usize>().ok());
    tensors.sort_by(|a, b| (layer(&a.name), &a.name).cmp(&(layer(&b.name), &b.name)));
    let elements = |tensor: &TensorSummary| tensor.shape.iter().map(|size| *size as u64).product::<u64>();
    Summary {
        format: checkpoint.format.name(),
        path: checkpoint.path.display().to_string(),
        config: config_lines(&checkpoint.config),
        vocabulary: match &checkpoint.vocabulary {
            VocabularySource::Files(directory) => format!("files in {}", directory.display()),
            VocabularySource::Gguf(vocabulary) => format!("{} tokens, {}", vocabulary.tokens.len(), vocabulary.model),
            VocabularySource::None => "none".to_string(),
        },
        has_chat_template: checkpoint.chat_template.is_some(),
        parameters: tensors.iter().map(elements).sum(),
        bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
        tensors,
    }
}

fn config_lines(config: &ModelConfig) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("name", config.name.clone()),
        ("family", config.family.name().to_string()),
        ("dim", config.dim.to_string()),
        ("layers", config.layers.to_string()),
        ("heads", format!("{} of {}, {} for keys and values", config.heads, config.head_dim, config.kv_heads)),
        ("ffn", config.ffn.to_string()),
        ("vocab", config.vocab.to_string()),
        ("positions", config.max_positions.to_string()),
        ("norm eps", config.norm_eps.to_string()),
        ("rope", format!("theta {}{}", config.rope.theta, scaling(&config.rope.scaling))),
        ("tied", config.tied.to_string()),
    ];
    if let Some(window) = config.window {
        lines.push(("window", format!("{} from layer {} on", window.size, window.from_layer)));
    }
    let biases = [("q k v", config.qkv_bias), ("o", config.o_bias), ("gate up down", config.mlp_bias)];
    let biases: Vec<&str> = biases.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
    if !biases.is_empty() {
        lines.push(("biases", biases.join(" ")));
    }
    if config.qk_norm {
        lines.push(("norms", "of q and k".to_string()));
    }
    let plain = ModelConfig::plain();
    let factors = [
        ("embedding times", config.embedding_multiplier, plain.embedding_multiplier),
        ("residual times", config.residual_multiplier, plain.residual_multiplier),
        ("logits over", config.logits_divisor, plain.logits_divisor),
    ];
    let special = factors.into_iter().filter(|(_, value, usual)| value != usual);
    lines.extend(special.map(|(name, value, _)| (name, value.to_string())));
    lines.extend(config.attention_scale.map(|scale| ("attention scale", scale.to_string())));
    lines.extend(config.bos.map(|bos| ("bos", bos.to_string())));
    let stops: Vec<String> = config.stop_tokens.iter().map(u32::to_string).collect();
    lines.push(("stop tokens", stops.join(" ")));
    lines
}

fn scaling(scaling: &RopeScaling) -> String {
    match scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", linear {factor}"),
        RopeScaling::Dynamic { factor, original } => format!(", dynamic {factor} beyond {original}"),
        RopeScaling::Llama3 { factor, low, high, original } => {
            format!(", llama3 {factor} ({low} to {high}) beyond {original}")
        }
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, magnitude, .. } => {
            format!(", yarn {factor} ({beta_slow} to {beta_fast}) beyond {original}, magnitude {magnitude}")
        }
        RopeScaling::Factors(factors) => format!(", {} factors", factors.len()),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.format, self.path)?;
        for (name, value) in &self.config {
            writeln!(f, "  {name:16} {value}")?;
        }
        writeln!(f, "  {:16} {}", "vocabulary", self.vocabulary)?;
        writeln!(f, "  {:16} {}", "chat template", if self.has_chat_template { "yes" } else { "no" })?;
        writeln!(f, "{} tensors, {} parameters, {} bytes", self.tensors.len(), self.parameters, self.bytes)?;
        for tensor in &self.tensors {
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            let grid = tensor.grid.as_ref().map(|grid| format!("  as {grid}")).unwrap_or_default();
            let (name, shape, encoding, bytes) = (&tensor.name, shape.join("x"), tensor.encoding, tensor.bytes);
            writeln!(f, "  {name:24} {encoding:12} {shape:>14} {bytes:>12}  {}{grid}", tensor.stored_as)?;
        }
        Ok(())
    }
}
