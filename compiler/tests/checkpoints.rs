//! Every format, on files that other programs wrote: each tensor's shape, encoding and numbers.

use tc_tests::fixtures::{self, Fixture};
use tcc_core::checkpoint::{Checkpoint, Format, OpenOptions, open};

/// The canonical name of a Hugging Face name.
fn canonical(name: &str) -> String {
    const NAMES: [(&str, &str); 12] = [
        ("embed_tokens.weight", "embed"),
        ("lm_head.weight", "head"),
        ("self_attn.q_proj.weight", "q"),
        ("self_attn.k_proj.weight", "k"),
        ("self_attn.v_proj.weight", "v"),
        ("self_attn.o_proj.weight", "o"),
        ("mlp.gate_proj.weight", "gate"),
        ("mlp.up_proj.weight", "up"),
        ("mlp.down_proj.weight", "down"),
        ("input_layernorm.weight", "attn_norm"),
        ("post_attention_layernorm.weight", "ffn_norm"),
        ("norm.weight", "norm"),
    ];
    let name = name.strip_prefix("model.").unwrap_or(name);
    let (own, canonical) = NAMES.iter().find(|(own, _)| name.ends_with(own)).expect("a name of a Llama");
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

/// Where there is a grid, it says the same numbers.
fn check_grid(tensor: &tcc_core::checkpoint::Tensor, values: &[f32]) -> Result<(), String> {
    let Some(grid) = tensor.grid() else { return Ok(()) };
    let cols = tensor.cols();
    let groups = cols.div_ceil(grid.group);
    let (mut q, mut scales, mut mins) = (vec![0i8; cols], vec![0.0f32; groups], vec![0.0f32; groups]);
    for (row, values) in values.chunks_exact(cols).enumerate() {
        tensor.read_row_grid(row, &mut q, &mut scales, &mut mins).map_err(|e| e.to_string())?;
        for (col, value) in values.iter().enumerate() {
            let group = col / grid.group;
            let restored = scales[group] * f32::from(q[col]) + mins[group];
            assert_eq!(restored, *value, "row {row}, column {col}");
            let range = if grid.bits == 8 {
                -128..=127
            } else if grid.has_min {
                0..=15
            } else {
                -8..=7
            };
            assert!(range.contains(&q[col]), "{}", q[col]);
        }
    }
    Ok(())
}

#[test]
fn every_fixture_is_read_as_what_it_holds() {
    let mut failures = Vec::new();
    let formats = [
        ("hf", Format::HuggingFace),
        ("hf-sharded", Format::HuggingFace),
        ("bin", Format::HuggingFace),
        ("bin-legacy", Format::HuggingFace),
        ("bin-sharded", Format::HuggingFace),
        ("meta-llama2", Format::Meta),
        ("meta-llama3", Format::Meta),
        ("meta-mixed", Format::Meta),
        ("gpt-fast", Format::Torch),
        ("torchchat", Format::Torch),
        ("torchtune", Format::Torch),
        ("tinyllamas", Format::Torch),
        ("llama2c-legacy", Format::Llama2C),
        ("llama2c-v1", Format::Llama2C),
        ("llama2c-v2", Format::Llama2C),
        ("gguf-f16", Format::Gguf),
        ("gguf-f32-v2", Format::Gguf),
        ("gguf-mixed", Format::Gguf),
    ];
    let all = fixtures::all();
    for (name, format) in formats {
        let fixture = &all[name];
        let outcome = open(&fixture.path, &OpenOptions::default()).map_err(|e| e.to_string()).and_then(|checkpoint| {
            assert_eq!(checkpoint.format, format, "{name}");
            check(fixture, &checkpoint)
        });
        failures.extend(outcome.err().map(|e| format!("{name}: {e}")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
