//! How a checkpoint is quantized, as its config says. What is not known could change the maths, and is refused by name.

use serde_json::{Value, json};

use super::super::error::{Result, error};
use crate::config::Keys;

#[derive(Clone, Debug)]
pub enum Scheme {
    Floats,
    Gptq(GroupConfig),
    Awq(GroupConfig),
    Compressed(CompressedConfig),
    Meta(MetaConfig),
}

#[derive(Clone, Debug)]
pub struct GroupConfig {
    pub bits: u32,
    /// None: a row is one group.
    pub group: Option<usize>,
    /// Single matrices may differ.
    pub varies: bool,
    /// Zero points are stored as one less than they are.
    pub zeros_one_less: bool,
}

#[derive(Clone, Debug)]
pub struct CompressedConfig {
    /// Widths that matrices may have.
    pub bits: Vec<u32>,
    /// Sizes that groups may have.
    pub groups: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct MetaConfig {
    pub group: usize,
}

type Parsed<T> = std::result::Result<T, String>;

impl Scheme {
    /// From Hugging Face's `config.json` or Meta's `params.json`.
    pub fn of(config: &Value) -> Result<Scheme> {
        if let Some(inner) = config.get("quantization_config").filter(|inner| !inner.is_null()) {
            return hugging_face(inner).map_err(|e| error!("\"quantization_config\": {e}"));
        }
        match config.get("quantization_args").filter(|inner| !inner.is_null()) {
            Some(inner) => meta(inner).map(Scheme::Meta).map_err(|e| error!("\"quantization_args\": {e}")),
            None => Ok(Scheme::Floats),
        }
    }
}

fn hugging_face(inner: &Value) -> Parsed<Scheme> {
    let keys = Keys::new(inner)?;
    let scheme = match keys.text("quant_method")? {
        Some("gptq") => Scheme::Gptq(gptq(&keys)?),
        Some("awq") => Scheme::Awq(awq(&keys)?),
        Some("compressed-tensors") => Scheme::Compressed(compressed(&keys)?),
        Some(other) => {
            return Err(format!("the method \"{other}\" is not supported (gptq, awq and compressed-tensors are)"));
        }
        None => return Err("\"quant_method\" is missing".to_string()),
    };
    keys.finish()?;
    Ok(scheme)
}

/// Keys about how the numbers were found, or about other programs.
const HARMLESS: &[&str] = &[
    "abort_if_fallback",
    "backend",
    "batch_size",
    "block_name_to_quantize",
    "cache_block_outputs",
    "damp_auto_increment",
    "damp_percent",
    "dataset",
    "desc_act",
    "disable_exllama",
    "do_fuse",
    "exllama_config",
    "fuse_max_seq_len",
    "lm_head",
    "max_input_length",
    "meta",
    "model_file_base_name",
    "model_name_or_path",
    "model_seqlen",
    "module_name_preceding_first_block",
    "modules_in_block_to_quantize",
    "modules_to_fuse",
    "modules_to_not_convert",
    "mse",
    "offload_to_disk",
    "offload_to_disk_path",
    "pack_impl",
    "pad_token_id",
    "parallel_packing",
    "static_groups",
    "sym",
    "tokenizer",
    "true_sequential",
    "use_cuda_fp16",
    "use_exllama",
    "uuid",
    "vram_strategy",
];

fn gptq(keys: &Keys) -> Parsed<GroupConfig> {
    let format = match keys.text("checkpoint_format")? {
        None => keys.text("format")?,
        format => format,
    };
    let zeros_one_less = match format {
        None | Some("gptq") => true,
        Some("gptq_v2") => false,
        Some(other) => {
            return Err(format!("\"checkpoint_format\": \"{other}\" is not supported (gptq and gptq_v2 are)"));
        }
    };
    keys.ignore(&["format", "method"]);
    keys.must_be("is_marlin_format", &[json!(false)])?;
    keys.must_be("pack_dtype", &[json!("int32")])?;
    keys.must_be("rotation", &[json!("")])?;
    let varies = keys.value("dynamic").is_some_and(|dynamic| dynamic.as_object().is_some_and(|map| !map.is_empty()));
    keys.ignore(HARMLESS);
    Ok(GroupConfig { bits: width(keys, "bits", &[2, 3, 4, 8])?, group: group(keys)?, varies, zeros_one_less })
}

fn awq(keys: &Keys) -> Parsed<GroupConfig> {
    keys.must_be("version", &[json!("gemm"), json!("GEMM")])?;
    keys.must_be("is_marlin_format", &[json!(false)])?;
    keys.ignore(&["zero_point"]);
    keys.ignore(HARMLESS);
    Ok(GroupConfig { bits: width(keys, "bits", &[4])?, group: group(keys)?, varies: false, zeros_one_less: false })
}

fn width(keys: &Keys, key: &str, known: &[u32]) -> Parsed<u32> {
    let bits = keys.required(key)?;
    let width = known.iter().find(|known| **known as usize == bits);
    width.copied().ok_or_else(|| format!("\"{key}\": {bits} is not one of {known:?}"))
}

/// -1 is a whole row.
fn group(keys: &Keys) -> Parsed<Option<usize>> {
    let value = keys.value("group_size").ok_or("\"group_size\" is missing")?;
    match (value.as_i64(), value.as_u64()) {
        (Some(-1), _) => Ok(None),
        (_, Some(group @ 1..=0x7fff_ffff)) => Ok(Some(group as usize)),
        _ => Err(format!("\"group_size\": {value} is neither a number of columns nor -1")),
    }
}

const STORED: [&str; 5] = ["pack-quantized", "int-quantized", "naive-quantized", "mixed-precision", "dense"];

fn compressed(keys: &Keys) -> Parsed<CompressedConfig> {
    let known = STORED.map(Value::from);
    keys.must_be("format", &known)?;
    keys.must_be("quantization_status", &[json!("compressed"), json!("frozen")])?;
    keys.must_be("transform_config", &[json!({})])?;
    keys.must_be("sparsity_config", &[json!({})])?;
    keys.must_be("moe_sparsity_config", &[json!({})])?;
    // Keys and values of the cache are stored in a type of the session's choice.
    keys.ignore(&["ignore", "global_compression_ratio", "kv_cache_scheme", "version"]);
    let groups = keys.value("config_groups").and_then(Value::as_object).ok_or("\"config_groups\" is missing")?;
    let mut config = CompressedConfig { bits: Vec::new(), groups: Vec::new() };
    for (name, scheme) in groups {
        weights(scheme, &known, &mut config).map_err(|e| format!("\"{name}\": {e}"))?;
    }
    Ok(config)
}

/// What one group of layers says of its weights.
fn weights(scheme: &Value, known: &[Value], config: &mut CompressedConfig) -> Parsed<()> {
    let keys = Keys::new(scheme)?;
    keys.must_be("format", known)?;
    let weights = Keys::new(keys.value("weights").ok_or("\"weights\" is missing")?)?;
    weights.must_be("type", &[json!("int")])?;
    weights.must_be("block_structure", &[])?;
    weights.must_be("strategy", &["group", "channel", "tensor"].map(Value::from))?;
    let bits = width(&weights, "num_bits", &[4, 8])?;
    if !config.bits.contains(&bits) {
        config.bits.push(bits);
    }
    let channelwise = weights.value("group_size").is_none_or(|group| group.as_i64() == Some(-1));
    if !channelwise {
        config.groups.extend(group(&weights)?);
    }
    Ok(())
}

impl CompressedConfig {
    /// Columns of a group of a matrix whose rows have `count` of them.
    pub fn run_length(&self, cols: usize, count: usize) -> Result<usize> {
        if count == 1 {
            return Ok(cols);
        }
        let group = self.groups.iter().copied().find(|group| cols.div_ceil(*group) == count);
        group.ok_or_else(|| error!("its rows of {cols} have {count} scales: no group size of the config makes that"))
    }
}

/// Meta's `params.json`; `lora_args` stand beside.
fn meta(inner: &Value) -> Parsed<MetaConfig> {
    let keys = Keys::new(inner)?;
    keys.must_be("scheme", &[json!("int4_weight_int8_dynamic_activation")])?;
    match keys.flag("spinquant")? {
        Some(false) => {}
        Some(true) => return Err("\"spinquant\": true: Hadamard transforms at run time are not supported".to_string()),
        None => return Err("\"spinquant\" is missing: it says whether w2 expects a Hadamard transform".to_string()),
    }
    let group = keys.required("group_size")?;
    keys.finish()?;
    match group {
        0 => Err("\"group_size\": 0 is no group".to_string()),
        _ => Ok(MetaConfig { group }),
    }
}
