//! Random checkpoints in the shape of real models, for measuring: a Hugging Face directory with `config.json`, sharded
//! `.safetensors` and a byte-level tokenizer. Everything is a function of the shape's name, so that two runs give the same bytes.
//!
//! Weights are uniform with a spread that keeps activations near 1, so such a model runs like a real one; it talks nonsense.

mod shapes;
mod tokenizer;

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use half::{bf16, f16};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::checkpoint::{CheckpointError, Result, expected_tensors};
use crate::config::{ModelConfig, hf};
use crate::files::temporary_beside;
use shapes::{SHAPES, Shape};
use tokenizer::tokenizer_json;

/// The dtype of all weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub const ALL: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        }
    }

    fn bytes(self) -> usize {
        if self == Dtype::F32 { 4 } else { 2 }
    }

    fn torch_name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
        }
    }

    fn write(self, value: f32, out: &mut Vec<u8>) {
        match self {
            Dtype::F32 => out.extend(value.to_le_bytes()),
            Dtype::F16 => out.extend(f16::from_f32(value).to_le_bytes()),
            Dtype::Bf16 => out.extend(bf16::from_f32(value).to_le_bytes()),
        }
    }
}

/// What `--shape` accepts.
pub fn shape_names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.name)
}

/// A tensor of the model to write.
struct Weight {
    name: String,
    shape: Vec<usize>,
}

impl Weight {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Writes the checkpoint into a directory, which is made where it is missing. `progress` is told how many of all bytes are written,
/// from several threads.
pub fn synth(shape: &str, directory: &Path, dtype: Dtype, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<()> {
    let known = || shape_names().collect::<Vec<_>>().join(", ");
    let found = SHAPES.iter().find(|known| known.name == shape);
    let shape = found.ok_or_else(|| CheckpointError::new(format!("there is no shape \"{shape}\" ({})", known())))?;
    let config = config_json(shape, dtype);
    let model = hf::parse(&config)?;
    std::fs::create_dir_all(directory).map_err(|e| CheckpointError::new(e).in_file(directory))?;
    write_shards(directory, shards(&model, dtype), dtype, progress)?;
    write_json(directory, "tokenizer.json", &tokenizer_json(shape.vocab))?;
    write_json(directory, "config.json", &config)
}

fn config_json(shape: &Shape, dtype: Dtype) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.dim,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": shape.theta,
        "hidden_act": "silu",
        "tie_word_embeddings": shape.tied,
        "bos_token_id": shape.vocab - 2,
        "eos_token_id": shape.vocab - 1,
        "torch_dtype": dtype.torch_name(),
    });
    if shape.llama32_rope {
        config["rope_scaling"] = json!({
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
    }
    config
}

/// Hugging Face's name of a canonical one. Synthetic models have neither biases nor norms of q and k.
fn hugging_face_name(canonical: &str) -> String {
    const INSIDE: [(&str, &str); 9] = [
        ("attn_norm", "input_layernorm"),
        ("q", "self_attn.q_proj"),
        ("k", "self_attn.k_proj"),
        ("v", "self_attn.v_proj"),
        ("o", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("gate", "mlp.gate_proj"),
        ("up", "mlp.up_proj"),
        ("down", "mlp.down_proj"),
    ];
    match canonical.rsplit_once('.') {
        None if canonical == "head" => "lm_head.weight".to_string(),
        None if canonical == "embed" => "model.embed_tokens.weight".to_string(),
        None => format!("model.{canonical}.weight"),
        Some((layer, leaf)) => {
            let own = INSIDE.iter().find(|(name, _)| *name == leaf).map_or(leaf, |(_, own)| own);
            format!("model.{layer}.{own}.weight")
        }
    }
}

/// Small models are one file; larger ones are at least as many as there are threads to write them, of at most 4 GiB.
fn shards(model: &ModelConfig, dtype: Dtype) -> Vec<Vec<Weight>> {
    const SMALL: usize = 64 << 20;
    const LARGEST: usize = 4 << 30;
    let weights: Vec<Weight> = expected_tensors(model)
        .into_iter()
        .map(|(name, shape)| Weight { name: hugging_face_name(&name), shape })
        .collect();
    let total: usize = weights.iter().map(|weight| weight.elements() * dtype.bytes()).sum();
    let limit = (total / threads()).clamp(SMALL, LARGEST);
    let (mut shards, mut filled) = (vec![Vec::new()], 0);
    for weight in weights {
        if filled >= limit {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += weight.elements() * dtype.bytes();
        if let Some(shard) = shards.last_mut() {
            shard.push(weight);
        }
    }
    shards
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Each thread writes whole shards. Nothing is left behind where one fails.
fn write_shards(
    directory: &Path,
    shards: Vec<Vec<Weight>>,
    dtype: Dtype,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<()> {
    let total: u64 = shards.iter().flatten().map(|weight| (weight.elements() * dtype.bytes()) as u64).sum();
    let (next, written) = (AtomicUsize::new(0), AtomicU64::new(0));
    let advance = |bytes: usize| progress(written.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64, total);
    let work = || {
        let mut done = Vec::new();
        while let Some((number, shard)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            shards.get(number).map(|shard| (number, shard))
        } {
            done.push((number, write_shard(directory, shard, dtype, &advance)?));
        }
        Ok(done)
    };
    let outcomes: Vec<Result<Vec<(usize, NamedTempFile)>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads().min(shards.len())).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let files = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    let name = |number: usize| match shards.len() {
        1 => "model.safetensors".to_string(),
        count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    };
    for (number, file) in files.into_iter().flatten() {
        let path = directory.join(name(number));
        file.persist(&path).map_err(|e| CheckpointError::new(e.error).in_file(&path))?;
    }
    if shards.len() == 1 {
        return Ok(());
    }
    let place = |(number, shard): (usize, &Vec<Weight>)| {
        shard.iter().map(move |weight| (weight.name.clone(), Value::from(name(number)))).collect::<Vec<_>>()
    };
    let map: Map<String, Value> = shards.iter().enumerate().flat_map(place).collect();
    write_json(
        directory,
        "model.safetensors.index.json",
        &json!({"metadata": {"total_size": total}, "weight_map": map}),
    )
}

fn write_shard(directory: &Path, shard: &[Weight], dtype: Dtype, advance: &dyn Fn(usize)) -> Result<NamedTempFile> {
    let fault = |e: std::io::Error| CheckpointError::new(e).in_file(directory);
    let file = temporary_beside(&directory.join("model.safetensors")).map_err(fault)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let header = header(shard, dtype);
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(fault)?;
    out.write_all(&header).map_err(fault)?;
    for weight in shard {
        write_weight(weight, dtype, &mut out, advance).map_err(fault)?;
    }
    out.into_inner().map_err(|e| fault(e.into_error()))
}

/// The JSON header of safetensors, padded so that data begins at a multiple of 8.
fn header(shard: &[Weight], dtype: Dtype) -> Vec<u8> {
    let mut begin = 0;
    let mut entries = Map::new();
    for weight in shard {
        let end = begin + weight.elements() * dtype.bytes();
        let entry = json!({"dtype": dtype.name().to_uppercase(), "shape": weight.shape, "data_offsets": [begin, end]});
        entries.insert(weight.name.clone(), entry);
        begin = end;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

/// Row by row, so that a row's numbers depend on the tensor's name and the row alone.
fn write_weight(weight: &Weight, dtype: Dtype, out: &mut impl Write, advance: &dyn Fn(usize)) -> std::io::Result<()> {
    let &[rows, cols] = &weight.shape[..] else {
        let mut ones = Vec::new();
        (0..weight.elements()).for_each(|_| dtype.write(1.0, &mut ones));
        advance(ones.len());
        return out.write_all(&ones);
    };
    // Uniform in ±a has a variance of a²/3.
    let spread = if weight.name.contains("embed_tokens") { 1.0 } else { (3.0 / cols as f32).sqrt() };
    let mut state = weight
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut bytes = Vec::with_capacity(cols * dtype.bytes());
    for _ in 0..rows {
        bytes.clear();
        for start in (0..cols).step_by(4) {
            let bits = splitmix64(&mut state);
            for lane in 0..(cols - start).min(4) {
                let signed = (bits >> (16 * lane)) as i16;
                dtype.write(f32::from(signed) * (spread / 32768.0), &mut bytes);
            }
        }
        out.write_all(&bytes)?;
        advance(bytes.len());
    }
    Ok(())
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn write_json(directory: &Path, name: &str, value: &Value) -> Result<()> {
    let path = directory.join(name);
    let fault = |e: std::io::Error| CheckpointError::new(e).in_file(&path);
    let mut file = temporary_beside(&path).map_err(fault)?;
    file.write_all(format!("{value:#}\n").as_bytes()).map_err(fault)?;
    file.persist(&path).map(drop).map_err(|e| fault(e.error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{OpenOptions, open};

    #[test]
    fn every_dtype_opens_as_the_shape_it_was_asked_for() {
        for dtype in Dtype::ALL {
            let folder = tempfile::tempdir().unwrap();
            let reached = AtomicU64::new(0);
            synth("tiny", folder.path(), dtype, &|done, total| {
                assert!(done <= total);
                reached.fetch_max(done, Ordering::Relaxed);
            })
            .unwrap();
            let checkpoint = open(folder.path(), &OpenOptions::default()).unwrap();
            assert_eq!((checkpoint.config.dim, checkpoint.config.ffn, checkpoint.config.tied), (64, 172, true));
            let stored: usize = checkpoint.tensors.values().map(|tensor| tensor.stored_bytes()).sum();
            assert_eq!(stored as u64, reached.into_inner());
            let down = &checkpoint.tensors["layers.1.down"];
            assert_eq!(down.encoding_name(), dtype.name());
            let mut row = vec![0.0; 172];
            down.read_row(63, &mut row).unwrap();
            let variance = row.iter().map(|value| value * value).sum::<f32>();
            assert!((0.7..1.3).contains(&variance), "{variance}");
            assert_eq!(checkpoint.tensors["norm"].read_vector().unwrap(), [1.0; 64]);
        }
    }

    #[test]
    fn shards_hold_every_tensor_once() {
        let shape = &SHAPES[3];
        let model = hf::parse(&config_json(shape, Dtype::Bf16)).unwrap();
        let all: Vec<String> = shards(&model, Dtype::Bf16).into_iter().flatten().map(|weight| weight.name).collect();
        assert_eq!(all.len(), expected_tensors(&model).len());
    }

    #[test]
    fn an_unknown_shape_is_told_which_there_are() {
        let error = synth("llama9", Path::new("/nowhere"), Dtype::F32, &|_, _| {}).unwrap_err().to_string();
        assert!(error.contains("llama9") && error.contains("smollm2-135m"), "{error}");
    }
}
