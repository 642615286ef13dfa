//! Checkpoints that come quantized: taken as they are, computed as their own packages dequantize them, and refused where they are
//! not what their configs say.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use tc_tests::fixtures;
use tcc_core::checkpoint::{Checkpoint, OpenOptions, Result, Tensor, open};
use tcc_core::eval::Subject;
use tcc_core::recipe::{Kind, Recipe, assign};
use tcrt::{EngineOptions, KvType, Session};

const FIXTURES: [&str; 7] =
    ["gptq", "gptq-act-order", "gptq-v2-mixed", "awq", "compressed-pack", "compressed-int", "meta-int4"];

fn fixture(name: &str) -> Checkpoint {
    open(&fixtures::directory().join(name), &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn kinds(name: &str) -> BTreeMap<&'static str, (Kind, u32)> {
    let checkpoint = fixture(name);
    let weights = assign(&Recipe::default(), &checkpoint.config, &checkpoint.tensors).unwrap();
    let kind = |leaf: &'static str| {
        let weight = weights.get(&format!("layers.0.{leaf}")).unwrap();
        (leaf, (weight.kind, weight.group))
    };
    ["q", "k", "v", "o", "gate", "up", "down"].into_iter().map(kind).collect()
}

#[test]
fn each_matrix_keeps_its_numbers_and_groups() {
    let all = |kind, group| ["q", "k", "v", "o", "gate", "up", "down"].map(|leaf| (leaf, (kind, group))).into();
    assert_eq!(kinds("gptq"), all(Kind::I4Min, 32));
    assert_eq!(kinds("awq"), all(Kind::I4Min, 32));
    assert_eq!(kinds("meta-int4"), all(Kind::I4, 32));
    let mut mixed: BTreeMap<_, _> = all(Kind::I3Min, 32);
    mixed.extend([("down", (Kind::I8Min, 96)), ("v", (Kind::I2Min, 32)), ("o", (Kind::I8, 32))]);
    assert_eq!(kinds("gptq-v2-mixed"), mixed);
    // Groups whose columns lie apart.
    assert_eq!(kinds("gptq-act-order"), all(Kind::I8, 32));
    let packed = kinds("compressed-pack");
    assert_eq!([packed["q"], packed["gate"], packed["o"]], [(Kind::I4Min, 32), (Kind::I4Min, 32), (Kind::I8, 64)]);
    assert_eq!([packed["up"], packed["down"]], [(Kind::I8, 32), (Kind::I8Min, 96)]);
    let bytes = kinds("compressed-int");
    assert_eq!([bytes["q"], bytes["up"], bytes["down"]], [(Kind::I8, 64), (Kind::I8Min, 64), (Kind::I8, 96)]);
    let meta = fixture("meta-int4");
    let embed = assign(&Recipe::default(), &meta.config, &meta.tensors).unwrap().get("embed");
    assert_eq!(embed.map(|weight| (weight.kind, weight.group)), Some((Kind::I8, 64)));
}

/// Of the largest logit, the largest difference from what `transformers` computes with the dequantized weights.
fn difference(name: &str) -> f32 {
    let fixture = &fixtures::all()[name];
    let recipe = Recipe::from_json(r#"{"activations": {"dtype": "f32"}}"#).unwrap();
    let subject = Subject::open(&fixture.path, Some(recipe), None, None, &|_, _| ControlFlow::Continue(())).unwrap();
    let options = EngineOptions { threads: 1, kv_dtype: KvType::F32, ..EngineOptions::default() };
    let mut session = Session::new(subject.model.clone(), &options).unwrap();
    let logits = session.prefill(&fixture.prompt).unwrap();
    let largest = fixture.logits.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
    let pairs = logits.iter().zip(&fixture.logits);
    pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
}

#[test]
fn artifacts_compute_what_the_dequantized_models_do() {
    for name in FIXTURES {
        // Minima and scales are rounded to f16; matrices whose groups lie apart to int8.
        let bound = if ["gptq-act-order", "compressed-pack"].contains(&name) { 1e-2 } else { 2e-3 };
        let difference = difference(name);
        println!("{name}: {difference:.1e}");
        assert!(difference <= bound, "{name}: {difference}");
    }
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Opens a fixture after changes to its tensors and its config.
fn changed(name: &str, change: impl FnOnce(&mut Tensors, &mut Value)) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    let from = fixtures::directory().join(name);
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let entry =
        |(name, view): (String, TensorView)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    let mut tensors: Tensors = file.tensors().into_iter().map(entry).collect();
    let mut config: Value = read_json(&from.join("config.json"));
    change(&mut tensors, &mut config["quantization_config"]);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    open(folder.path(), &OpenOptions::default())
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn refused(name: &str, change: impl FnOnce(&mut Tensors, &mut Value), parts: &[&str]) {
    let error = changed(name, change).expect_err("is wrong").to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
}

const Q: &str = "model.layers.0.self_attn.q_proj";

#[test]
fn configs_that_are_not_understood_are_refused_by_key() {
    let config = |key: &'static str, value: Value| move |_: &mut Tensors, config: &mut Value| config[key] = value;
    changed("gptq", |_, _| {}).unwrap();
    refused("gptq", config("quant_method", json!("bitsandbytes")), &["config.json", "bitsandbytes"]);
    refused("gptq", config("checkpoint_format", json!("marlin")), &["checkpoint_format", "marlin"]);
    refused("gptq", config("rotation", json!("hadamard")), &["rotation", "hadamard"]);
    refused("gptq", config("bits", json!(5)), &["bits", "5"]);
    refused("gptq", config("bits", json!(8)), &["_proj.weight", "4 bits", "8"]);
    refused("gptq", config("group_size", json!(0)), &["group_size"]);
    refused("gptq", config("group_size", json!(64)), &[".weight", "groups of 64"]);
    refused("gptq", config("surprise", json!(1)), &["surprise"]);
    refused("awq", config("version", json!("gemv")), &["version", "gemv"]);
    refused("compressed-pack", config("format", json!("marlin-24")), &["format", "marlin-24"]);
    refused("compressed-pack", config("transform_config", json!({"groups": {}})), &["transform_config"]);
}

/// The part of a matrix, to be changed.
fn part<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut (Dtype, Vec<usize>, Vec<u8>) {
    tensors.get_mut(&format!("{Q}.{name}")).unwrap()
}

#[test]
fn parts_that_do_not_fit_together_are_refused_by_name() {
    let without =
        |name: &'static str| move |tensors: &mut Tensors, _: &mut Value| drop(tensors.remove(&format!("{Q}.{name}")));
    refused("gptq", without("scales"), &[Q, "scales is missing"]);
    refused("gptq", without("qzeros"), &[Q, "qzeros is missing"]);
    refused("compressed-pack", without("weight_shape"), &[Q, "weight_shape is missing"]);
    refused("gptq", without("qweight"), &[Q]);
    refused("gptq", |tensors, _| part(tensors, "qweight").1.reverse(), &[Q, "512"]);
    refused("awq", |tensors, _| part(tensors, "qweight").1 = vec![32, 16], &[Q]);
    refused("gptq", |tensors, _| part(tensors, "qweight").0 = Dtype::F32, &[Q, "f32"]);
    refused("gptq", |tensors, _| part(tensors, "g_idx").2[..4].copy_from_slice(&2i32.to_le_bytes()), &[Q, "group 2"]);
    refused(
        "gptq",
        |tensors, _| part(tensors, "g_idx").2[..4].copy_from_slice(&(-1i32).to_le_bytes()),
        &[Q, "group -1"],
    );
    refused("compressed-pack", |tensors, _| part(tensors, "weight_shape").2[0] = 65, &[Q, "65"]);
    refused("compressed-int", |tensors, _| drop(tensors.remove(&format!("{Q}.weight_scale"))), &[Q, "int8"]);
    let bias = |tensors: &mut Tensors, _: &mut Value| tensors.get_mut(&format!("{Q}.bias")).unwrap().2[1] = 0x3c;
    refused("gptq", bias, &["q_proj.bias", "not part of the model"]);
}

#[test]
fn a_scale_that_is_no_number_is_named() {
    let nan = |tensors: &mut Tensors, _: &mut Value| part(tensors, "scales").2[..2].copy_from_slice(&[0xff, 0x7f]);
    let checkpoint = changed("gptq", nan).unwrap();
    let error = first_error(&checkpoint.tensors["layers.0.q"]).unwrap();
    assert!(error.contains(Q) && error.contains("NaN"), "{error}");
}

fn first_error(tensor: &Tensor) -> Option<String> {
    let mut row = vec![0.0; tensor.cols()];
    (0..tensor.rows()).find_map(|at| tensor.read_row(at, &mut row).err()).map(|error| error.to_string())
}
