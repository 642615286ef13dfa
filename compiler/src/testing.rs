//! Small tensors for tests.

use std::collections::BTreeMap;
use std::io::Write;

use crate::checkpoint::{Encoding, Place, SourceFile, Tensor};
use crate::config::{Family, ModelConfig, Rope, RopeScaling};

/// A tensor that holds these numbers as f32.
pub fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    stored(name, shape, Encoding::F32, &bytes)
}

pub fn stored(name: &str, shape: &[usize], encoding: Encoding, bytes: &[u8]) -> Tensor {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let file = SourceFile::open(file.path()).unwrap();
    Tensor::stored(name, shape, Place { file, offset: 0, encoding }).unwrap()
}

/// Numbers between -1 and 1, the same on every machine.
pub fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..count).map(|_| next() as f32).collect()
}

/// Two layers whose widths no power of two divides.
pub fn tiny_config() -> ModelConfig {
    ModelConfig {
        name: "tiny".to_string(),
        family: Family::Llama,
        dim: 40,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 10,
        ffn: 72,
        vocab: 50,
        max_positions: 128,
        norm_eps: 1e-5,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        window: None,
        tied: true,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
        embedding_multiplier: 1.0,
        residual_multiplier: 1.0,
        logits_divisor: 1.0,
        attention_scale: None,
        bos: None,
        stop_tokens: vec![2],
    }
}

/// Every tensor that the config asks for, in f32.
pub fn tiny_tensors(config: &ModelConfig) -> BTreeMap<String, Tensor> {
    let (dim, ffn, q, kv) = (config.dim, config.ffn, config.q_width(), config.kv_width());
    let mut shapes = vec![("embed".to_string(), vec![config.vocab, dim]), ("norm".to_string(), vec![dim])];
    if !config.tied {
        shapes.push(("head".to_string(), vec![config.vocab, dim]));
    }
    for layer in 0..config.layers {
        let mut add = |name: &str, shape: &[usize]| shapes.push((format!("layers.{layer}.{name}"), shape.to_vec()));
        let linears = [
            ("q", [q, dim], config.qkv_bias),
            ("k", [kv, dim], config.qkv_bias),
            ("v", [kv, dim], config.qkv_bias),
            ("o", [dim, q], config.o_bias),
            ("gate", [ffn, dim], config.mlp_bias),
            ("up", [ffn, dim], config.mlp_bias),
            ("down", [dim, ffn], config.mlp_bias),
        ];
        for (name, shape, bias) in linears {
            add(name, &shape);
            if bias {
                add(&format!("{name}.bias"), &shape[..1]);
            }
        }
        add("attn_norm", &[dim]);
        add("ffn_norm", &[dim]);
        if config.qk_norm {
            add("q_norm", &[config.head_dim]);
            add("k_norm", &[config.head_dim]);
        }
    }
    let make = |(seed, (name, shape)): (usize, (String, Vec<usize>))| {
        let mut values = noise(seed as u32 + 1, shape.iter().product());
        if shape.len() == 2 {
            let scale = (shape[1] as f32).sqrt().recip();
            values.iter_mut().for_each(|value| *value *= scale);
        }
        let tensor = tensor(&name, &shape, &values);
        (name, tensor)
    };
    shapes.into_iter().enumerate().map(make).collect()
}
