//! From a file's tensors under their own names to exactly the tensors that the config asks for.

use std::collections::BTreeMap;

use super::error::{Result, error};
use super::names::{Meaning, Naming};
use super::tensor::Tensor;
use crate::config::ModelConfig;

/// Tensors as a format's reader found them, by their own names. A tensor that cannot be read is an error only once it is used.
pub type Found = BTreeMap<String, Result<Tensor>>;

/// Tensors by canonical name, `qkv` not yet split.
pub type Named = BTreeMap<String, Tensor>;

/// Gives tensors their canonical names. A tensor of unknown purpose could change the maths, so it is refused.
pub fn name_all(found: Found, naming: &Naming) -> Result<Named> {
    let mut named = Named::new();
    for (own, tensor) in found {
        match naming.meaning(&own) {
            Meaning::Ignored => {}
            Meaning::Unknown => return Err(error!("tensor {own}: no Llama-family model has it")),
            Meaning::Canonical(canonical) => {
                let tensor = tensor?;
                if tensor.is_integer() {
                    let dtype = tensor.encoding_name();
                    return Err(error!("tensor {own}: dtype {dtype} is not one that weights have"));
                }
                if named.insert(canonical, tensor).is_some() {
                    return Err(error!("tensor {own}: is there twice"));
                }
            }
        }
    }
    Ok(named)
}

/// Splits `qkv`, puts q and k in the canonical order, and checks that every tensor is there, in its shape, and none besides.
pub fn assemble(config: &ModelConfig, mut named: Named, rope_pairs: bool) -> Result<Named> {
    for layer in 0..config.layers {
        split_qkv(config, &mut named, layer)?;
    }
    if config.tied {
        named.remove("head");
    }
    let mut complete = Named::new();
    for (name, shape) in expected(config) {
        let tensor = named.remove(&name).ok_or_else(|| error!("tensor {name} is missing (shape {shape:?})"))?;
        if tensor.shape() != shape {
            let (own, found) = (tensor.name(), tensor.shape());
            return Err(error!("tensor {own} has shape {found:?}, but the config makes it {shape:?}"));
        }
        let turned = rope_pairs && is_rotated(&name);
        complete.insert(name, if turned { tensor.into_half_split(config.head_dim)? } else { tensor });
    }
    // Quantizers leave biases of 0 where a layer has none.
    for (_, tensor) in named {
        if !tensor.name().ends_with(".bias") || tensor.read_vector()?.iter().any(|value| *value != 0.0) {
            return Err(error!("tensor {} is not part of the model that the config describes", tensor.name()));
        }
    }
    Ok(complete)
}

/// Every tensor of a model and its shape.
pub fn expected(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (dim, ffn, q, kv) = (config.dim, config.ffn, config.q_width(), config.kv_width());
    let mut all = vec![("embed".to_string(), vec![config.vocab, dim]), ("norm".to_string(), vec![dim])];
    if !config.tied {
        all.push(("head".to_string(), vec![config.vocab, dim]));
    }
    let linear = [
        ("q", q, dim, config.qkv_bias),
        ("k", kv, dim, config.qkv_bias),
        ("v", kv, dim, config.qkv_bias),
        ("o", dim, q, config.o_bias),
        ("gate", ffn, dim, config.mlp_bias),
        ("up", ffn, dim, config.mlp_bias),
        ("down", dim, ffn, config.mlp_bias),
    ];
    for layer in 0..config.layers {
        let mut add = |name: String, shape: Vec<usize>| all.push((format!("layers.{layer}.{name}"), shape));
        for (name, rows, cols, bias) in linear {
            add(name.to_string(), vec![rows, cols]);
            if bias {
                add(format!("{name}.bias"), vec![rows]);
            }
        }
        add("attn_norm".to_string(), vec![dim]);
        add("ffn_norm".to_string(), vec![dim]);
        if config.qk_norm {
            add("q_norm".to_string(), vec![config.head_dim]);
            add("k_norm".to_string(), vec![config.head_dim]);
        }
    }
    all
}

fn is_rotated(name: &str) -> bool {
    [".q", ".k", ".q.bias", ".k.bias"].iter().any(|end| name.ends_with(end))
}

/// gpt-fast keeps q, k and v in one matrix, one below the other.
fn split_qkv(config: &ModelConfig, named: &mut Named, layer: usize) -> Result<()> {
    for kind in ["", ".bias"] {
        let Some(merged) = named.remove(&format!("layers.{layer}.qkv{kind}")) else { continue };
        let mut start = 0;
        for (part, rows) in [("q", config.q_width()), ("k", config.kv_width()), ("v", config.kv_width())] {
            let slice = merged.slice_rows(merged.name(), start, rows)?;
            named.insert(format!("layers.{layer}.{part}{kind}"), slice);
            start += rows;
        }
        if start != merged.rows() {
            return Err(error!("tensor {} has {} rows, but q, k and v make {start}", merged.name(), merged.rows()));
        }
    }
    Ok(())
}
