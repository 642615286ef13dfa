//! Every format, on files that other programs wrote: each tensor's shape, encoding and numbers.

use std::collections::BTreeMap;

use tc_kernels::layout::block_bytes;
use tc_kernels::pack::{pack_quantized_block, unpack_row};
use tc_tests::fixtures::{self, Fixture};
use tc_tests::golden;
use tcc_core::checkpoint::{
    Checkpoint, Format, Grid, GridRow, OpenOptions, Tensor, VocabularySource, expected_tensors, open,
};
use tcc_core::config::{Family, Rope, RopeScaling, hf};

/// The canonical name of a Hugging Face name.
fn canonical(name: &str) -> String {
    const NAMES: [(&str, &str); 14] = [
        ("embed_tokens", "embed"),
        ("lm_head", "head"),
        ("self_attn.q_proj", "q"),
        ("self_attn.k_proj", "k"),
        ("self_attn.v_proj", "v"),
        ("self_attn.o_proj", "o"),
        ("self_attn.q_norm", "q_norm"),
        ("self_attn.k_norm", "k_norm"),
        ("mlp.gate_proj", "gate"),
        ("mlp.up_proj", "up"),
        ("mlp.down_proj", "down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("norm", "norm"),
    ];
    let name = name.strip_prefix("model.").unwrap_or(name);
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let is = |own: &str| name.strip_suffix(".bias").unwrap_or(name).ends_with(own);
    let (own, canonical) = NAMES.iter().find(|(own, _)| is(own)).expect("a name of a Llama");
    name.replace(own, canonical)
}

fn check(fixture: &Fixture, checkpoint: &Checkpoint) -> Result<(), String> {
    let names: Vec<String> = fixture.tensors.keys().map(|name| canonical(name)).collect();
    if let Some(surplus) = checkpoint.tensors.keys().find(|name| !names.contains(name)) {
        return Err(format!("{surplus} should not be there"));
    }
    for (name, expected) in &fixture.tensors {
        let tensor = checkpoint.tensors.get(&canonical(name)).ok_or(format!("{name} is missing"))?;
        let encoding = if expected.dtype == "q8" { "int8 groups" } else { &expected.dtype };
        assert_eq!((tensor.shape(), tensor.encoding_name()), (&expected.shape[..], encoding), "{name}");
        let mut values = vec![0.0; tensor.rows() * tensor.cols()];
        for (row, out) in values.chunks_exact_mut(tensor.cols()).enumerate() {
            tensor.read_row(row, out).map_err(|e| e.to_string())?;
        }
        expected.check(&values).map_err(|e| format!("{name}: {e}"))?;
        check_grid(tensor, &values).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// Where there is a grid, its numbers packed and unpacked are the same values.
fn check_grid(tensor: &Tensor, values: &[f32]) -> Result<(), String> {
    let Some(Grid { kind, group }) = tensor.grid() else { return Ok(()) };
    let cols = tensor.cols();
    let (mut numbers, mut restored) = (GridRow::default(), vec![0.0; cols]);
    let mut block = vec![0; block_bytes(kind, cols, group)];
    for (row, values) in values.chunks_exact(cols).enumerate() {
        tensor.read_row_grid(row, &mut numbers).map_err(|e| e.to_string())?;
        pack_quantized_block(kind, group, &[numbers.view()], &mut block);
        unpack_row(kind, group, cols, &block, 0, &mut restored);
        // Scales may be f32, and minima are products of scales: both are rounded to f16.
        let bound = if tensor.encoding_name().ends_with(" groups") { 1.0 / 2048.0 } else { 0.0 };
        for (col, (restored, value)) in restored.iter().zip(values).enumerate() {
            let min = numbers.mins.get(col / group).map_or(0.0, |min| min.abs());
            assert!(
                (restored - value).abs() <= bound * (value.abs() + 2.0 * min),
                "row {row} as {}: {restored} {value}",
                kind.name()
            );
        }
    }
    Ok(())
}

fn format_of(fixture: &str) -> Format {
    match fixture.split('-').next() {
        Some("hf" | "bin" | "gptq" | "awq" | "compressed") => Format::HuggingFace,
        Some("meta") => Format::Meta,
        Some("llama2c") => Format::Llama2C,
        Some("gguf") => Format::Gguf,
        _ => Format::Torch,
    }
}

fn open_fixture(name: &str) -> Checkpoint {
    let fixture = &fixtures::all()[name];
    open(&fixture.path, &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_fixture_is_read_as_what_it_holds() {
    let mut failures = Vec::new();
    for (name, fixture) in fixtures::all() {
        let outcome = open(&fixture.path, &OpenOptions::default()).map_err(|e| e.to_string()).and_then(|checkpoint| {
            assert_eq!(checkpoint.format, format_of(&name), "{name}");
            check(&fixture, &checkpoint)
        });
        failures.extend(outcome.err().map(|e| format!("{name}: {e}")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_shape_and_the_maths_are_read_as_well() {
    let hf = open_fixture("hf").config;
    let sizes = [hf.dim, hf.layers, hf.heads, hf.kv_heads, hf.head_dim, hf.ffn, hf.vocab, hf.max_positions];
    assert_eq!(sizes, [16, 2, 4, 2, 4, 44, 40, 64]);
    assert_eq!((hf.family, hf.tied, hf.bos, &hf.stop_tokens[..]), (Family::Llama, false, Some(1), &[2][..]));
    assert!(open_fixture("hf-sharded").config.tied);

    let granite = open_fixture("gguf-granite").config;
    let multipliers = [granite.embedding_multiplier, granite.residual_multiplier, granite.logits_divisor];
    assert_eq!((multipliers, granite.attention_scale), ([12.0, 0.25, 8.0], Some(0.125)));
    let qwen2 = open_fixture("gguf-qwen2").config;
    assert_eq!((qwen2.family, qwen2.qkv_bias, qwen2.o_bias), (Family::Qwen2, true, false));
    let qwen3 = open_fixture("gguf-qwen3").config;
    assert_eq!((qwen3.family, qwen3.qk_norm, qwen3.head_dim), (Family::Qwen3, true, 8));
    let factors = open_fixture("gguf-llama3-factors").config.rope.scaling;
    assert_eq!(factors, RopeScaling::Factors(vec![1.0, 8.0]));

    let llama3 = open_fixture("meta-llama3").config;
    let scaling = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192 };
    assert_eq!(llama3.rope, Rope { theta: 500000.0, scaling });
    let stories = open_fixture("tinyllamas").config;
    assert_eq!((stories.tied, stories.max_positions, stories.bos), (true, 64, Some(1)));
    assert_eq!(open_fixture("llama2c-v2").config.stop_tokens, [1, 2]);
}

#[test]
fn a_gguf_file_brings_its_vocabulary_and_template() {
    let gguf = open_fixture("gguf-f16");
    let VocabularySource::Gguf(vocabulary) = gguf.vocabulary else { panic!("{:?}", gguf.vocabulary) };
    assert_eq!((vocabulary.model.as_str(), vocabulary.tokens.len(), vocabulary.bos), ("llama", 40, Some(1)));
    assert_eq!(vocabulary.tokens[6..9], ["▁", "a", "b"]);
    assert_eq!((vocabulary.scores[2], vocabulary.types[3], vocabulary.add_bos), (-2.0, 6, Some(true)));
    assert_eq!(gguf.config.stop_tokens, [2]);
    assert!(gguf.chat_template.is_some_and(|template| template.starts_with("{% for m in messages %}")));
}

/// The configs of the goldens, against the tensors that `transformers` has for each.
#[test]
fn every_golden_config_asks_for_the_tensors_of_its_model() {
    for name in golden::names().unwrap() {
        let golden = golden::Golden::load(&name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let config = hf::parse(&golden.checkpoint.config.clone().into()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected: BTreeMap<String, Vec<usize>> = expected_tensors(&config).into_iter().collect();
        let named = golden.checkpoint.tensors.iter().map(|(name, shape)| (canonical(name), shape.clone()));
        assert_eq!(expected, named.collect(), "{name}");
    }
}

#[test]
fn a_pickle_that_asks_for_more_than_data_is_refused_by_name() {
    let path = fixtures::directory().join("evil.pth");
    let error = open(&path, &OpenOptions::default()).expect_err("is hostile").to_string();
    assert!(error.starts_with(&path.display().to_string()) && error.contains("posix.system"), "{error}");
}

#[test]
fn a_file_without_a_shape_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    std::fs::copy(fixtures::directory().join("gpt-fast/model.pth"), &path).unwrap();
    let error = open(&path, &OpenOptions::default()).expect_err("has no shape").to_string();
    assert!(error.contains("--params-path"), "{error}");
    let params = fixtures::directory().join("gpt-fast/params.json");
    let checkpoint = open(&path, &OpenOptions { params_path: Some(params) }).unwrap();
    check(&fixtures::all()["gpt-fast"], &checkpoint).unwrap();
}

#[test]
fn a_missing_shard_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures::directory().join("hf-sharded")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().contains("00002-of") {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let error = open(folder.path(), &OpenOptions::default()).expect_err("lacks a shard").to_string();
    assert!(error.contains("model-00002-of-00003.safetensors is missing"), "{error}");
}
