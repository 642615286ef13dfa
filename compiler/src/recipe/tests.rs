use tc_kernels::layout::Kind;

use super::*;
use crate::checkpoint::Encoding;
use crate::config::ModelConfig;
use crate::testing::{stored, tiny_config, tiny_tensors};

#[test]
fn torchchat_recipes() {
    let quantizer = |kind, group| Some(Quantizer { kind, group, method: Method::Nearest });
    let linear = |kind, group| Recipe { linear: quantizer(kind, group), ..Recipe::default() };
    let embedding = |kind, group| Recipe { embedding: quantizer(kind, group), ..Recipe::default() };
    let exact = |recipe: Recipe| Recipe { activations: Activations::F32, ..recipe };
    let table = [
        ("{}", Recipe::default()),
        (r#"{"linear:int4": {"groupsize": 64}}"#, linear(Kind::I4, Group::Of(64))),
        (r#"{"linear:int4": {"group_size": 64, "groupsize": 64}}"#, linear(Kind::I4, Group::Of(64))),
        (r#"{"linear:int4": {}}"#, linear(Kind::I4, Group::Of(32))),
        (r#"{"linear:int4": {"groupsize": 0, "symmetric": false}}"#, linear(Kind::I4Min, Group::Row)),
        (r#"{"linear:int8": {"groupsize": 0}}"#, linear(Kind::I8, Group::Row)),
        (r#"{"linear:int8": {}}"#, linear(Kind::I8, Group::Row)),
        (r#"{"linear:a8w4dq": {"groupsize": 256}}"#, linear(Kind::I4, Group::Of(256))),
        (r#"{"linear:8da4w": {"group_size": 32}}"#, linear(Kind::I4, Group::Of(32))),
        (r#"{"embedding": {"bitwidth": 8, "groupsize": 0}}"#, embedding(Kind::I8, Group::Row)),
        (r#"{"embedding": {"bitwidth": 4, "groupsize": 32}}"#, embedding(Kind::I4, Group::Of(32))),
        (r#"{"precision": {"dtype": "bfloat16"}}"#, Recipe { dtype: Some(Kind::Bf16), ..Recipe::default() }),
        (r#"{"executor": {"accelerator": "cpu"}}"#, Recipe { executor: Some(Accelerator::Cpu), ..Recipe::default() }),
        (r#"{"precision": {"dtype": "fast16"}}"#, Recipe { dtype: Some(Kind::Bf16), ..Recipe::default() }),
        (r#"{"linear:int8": {"bitwidth": 8, "groupsize": 32}}"#, linear(Kind::I8, Group::Of(32))),
        (r#"{"linear:a8wxdq": {}}"#, linear(Kind::I4, Group::Of(128))),
        (r#"{"linear:a8wxdq": {"bitwidth": 1, "groupsize": 0}}"#, linear(Kind::I2, Group::Row)),
        (r#"{"linear:a8wxdq": {"bitwidth": 3, "has_weight_zeros": true}}"#, linear(Kind::I3Min, Group::Of(128))),
        (r#"{"linear:a8wxdq": {"bitwidth": 7, "has_weight_zeros": true}}"#, linear(Kind::I8Min, Group::Of(128))),
        (r#"{"linear:afpwx": {"bitwidth": 6, "groupsize": 64}}"#, exact(linear(Kind::I6Min, Group::Of(64)))),
        (r#"{"linear:afpwx": {}, "activations": {"dtype": "f32"}}"#, exact(linear(Kind::I4Min, Group::Of(128)))),
        (r#"{"linear:kind": {"kind": "n4"}}"#, linear(Kind::N4, Group::Of(256))),
        (r#"{"linear:kind": {"kind": "i5", "groupsize": 64, "method": "nearest"}}"#, linear(Kind::I5, Group::Of(64))),
        (r#"{"embedding": {"bitwidth": 3, "groupsize": 96}}"#, embedding(Kind::I3, Group::Of(96))),
        (r#"{"embedding": {}}"#, embedding(Kind::I8, Group::Row)),
        (r#"{"embedding:wx": {"bitwidth": 2, "groupsize": 32}}"#, embedding(Kind::I2Min, Group::Of(32))),
        (r#"{"embedding:kind": {"kind": "k6"}}"#, embedding(Kind::K6, Group::Of(256))),
        (r#"{"activations": {"dtype": "f32"}}"#, Recipe { activations: Activations::F32, ..Recipe::default() }),
        (r#"{"activations": {"dtype": "int16"}}"#, Recipe { activations: Activations::Int16, ..Recipe::default() }),
    ];
    for (json, recipe) in table {
        assert_eq!(Recipe::from_json(json).unwrap(), recipe, "{json}");
    }
}

#[test]
fn what_is_unknown_is_named() {
    let table = [
        ("[]", "recipe: the recipe must be an object"),
        ("{", "recipe: not JSON"),
        (r#"{"linear:int3": {}}"#, r#"unknown key "linear:int3"; known are linear:int4"#),
        (r#"{"linear:int4": {"groups": 1}}"#, r#"unknown key "groups" in linear:int4"#),
        (r#"{"linear:int4": 4}"#, "linear:int4 must be an object"),
        (
            r#"{"linear:int4": {"groupsize": 33}}"#,
            "linear:int4.groupsize is 33, but must be 0 (a whole row) or a multiple of 32",
        ),
        (r#"{"linear:int4": {"groupsize": -32}}"#, "linear:int4.groupsize is -32"),
        (r#"{"linear:int4": {"group_size": 1e30}}"#, "linear:int4.group_size is 1e+30"),
        (r#"{"linear:int4": {"group_size": 32, "groupsize": 64}}"#, "contradict"),
        (r#"{"linear:int4": {}, "linear:int8": {}}"#, "linear:int4 and linear:int8 contradict"),
        (r#"{"linear:a8w4dq": {}, "activations": {"dtype": "f32"}}"#, "contradict"),
        (r#"{"linear:a8w4dq": {}, "activations": {"dtype": "int16"}}"#, "contradict"),
        (r#"{"embedding": {"bitwidth": 9}}"#, "embedding.bitwidth is 9, but must be one of 1 to 8"),
        (r#"{"embedding": {"bitwidth": 0}}"#, "embedding.bitwidth is 0"),
        (r#"{"embedding": {"bitwidth": 4.5}}"#, "embedding.bitwidth is 4.5"),
        (r#"{"embedding": {}, "embedding:wx": {}}"#, "embedding and embedding:wx contradict"),
        (r#"{"linear:int8": {"bitwidth": 4}}"#, "linear:int8.bitwidth is 4, but must be 8"),
        (r#"{"linear:a8wxdq": {"has_weight_zeros": 1}}"#, "linear:a8wxdq.has_weight_zeros is 1"),
        (r#"{"linear:a8wxdq": {}, "activations": {"dtype": "f32"}}"#, "contradict"),
        (r#"{"linear:afpwx": {}, "activations": {"dtype": "int8"}}"#, "contradict"),
        (r#"{"linear:kind": {"kind": "f16"}}"#, "linear:kind.kind is \"f16\", but must be i8, i4, i4min"),
        (
            r#"{"linear:hqq": {"has_weight_zeros": false}}"#,
            "linear:hqq: hqq finds a minimum for each group, which i4 has not",
        ),
        (r#"{"linear:kind": {"kind": "k4", "method": "hqq"}}"#, "which k4 has not"),
        (r#"{"auto": {}}"#, "auto.bits_per_weight is missing, but must be between 2 and 16"),
        (r#"{"auto": {"bits_per_weight": 1}}"#, "auto.bits_per_weight is 1"),
        (r#"{"auto": {"bits_per_weight": 4}, "linear:int8": {}}"#, "auto and linear:int8 contradict"),
        (r#"{"calibration": {}}"#, "calibration.said is missing, but must be between 0 and 1024"),
        (r#"{"calibration": {"said": 1025}}"#, "calibration.said is 1025"),
        (r#"{"calibration": {"said": 1.5}}"#, "calibration.said is 1.5"),
        (r#"{"tune": {}}"#, "tune.tokens is missing, but must be between 0 and 1073741824"),
        (r#"{"tune": {"tokens": -1}}"#, "tune.tokens is -1"),
        (r#"{"tune": {"steps": 3}}"#, r#"unknown key "steps" in tune"#),
        (r#"{"calibration": {"file": "x"}}"#, r#"unknown key "file" in calibration"#),
        (r#"{"linear:hqq": {"bits": 4}}"#, r#"unknown key "bits" in linear:hqq"#),
        (r#"{"overrides": {}}"#, "overrides is {}, but must be a list"),
        (r#"{"overrides": [{"layers": "head"}]}"#, "overrides[0] is"),
        (r#"{"overrides": [{"layers": "head", "linear:int5": {}}]}"#, r#"unknown key "linear:int5""#),
        (r#"{"overrides": [{"layers": "head", "executor": {}}]}"#, r#"unknown key "executor" in overrides"#),
        (
            r#"{"overrides": [{"layers": "head", "linear:int4": {"groupsize": 5}}]}"#,
            "overrides[0].linear:int4.groupsize is 5",
        ),
        (
            r#"{"linear:a8w4dq": {}, "overrides": [{"layers": "head", "linear:afpwx": {}}]}"#,
            "linear:a8w4dq and overrides[0].linear:afpwx contradict",
        ),
        (r#"{"precision": {"dtype": "int4"}}"#, "precision.dtype is \"int4\", but must be f32, f16, bf16"),
        (r#"{"precision": {}}"#, "precision.dtype is missing"),
        (r#"{"executor": {"accelerator": "tpu"}}"#, "executor.accelerator is \"tpu\""),
    ];
    for (json, expected) in table {
        let message = Recipe::from_json(json).unwrap_err().to_string();
        assert!(message.contains(expected), "{json}: {message}");
        assert!(!message.contains('\n'));
    }
    let bf16 = Recipe::from_json(r#"{"precision": {"dtype": "bf16"}}"#).unwrap();
    assert!(bf16.clone().with_dtype(Kind::Bf16).is_ok());
    assert!(bf16.with_dtype(Kind::F32).is_err());
}

#[test]
fn recipes_come_from_files_too() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"linear:int8": {}}"#).unwrap();
    assert!(Recipe::from_argument(file.path().to_str().unwrap()).unwrap().linear.is_some());
    let message = Recipe::from_argument("no such file").unwrap_err().to_string();
    assert!(
        message.starts_with("recipe no such file: ") && message.contains("mobile, desktop, cuda, pi5"),
        "{message}"
    );
}

fn weight(kind: Kind, group: u32) -> Option<WeightType> {
    Some(WeightType { kind, group })
}

#[test]
fn a_tied_head_is_the_embedding_unless_their_formats_differ() {
    let config = tiny_config();
    let tensors = tiny_tensors(&config);
    let assigned = |json: &str| assign(&Recipe::from_json(json).unwrap(), &config, &tensors).unwrap();

    let kept = assigned("{}");
    assert!(kept.shared_head && kept.get("embed") == weight(Kind::F32, 0));

    let linear = assigned(r#"{"linear:int4": {"groupsize": 32}}"#);
    assert!(linear.shared_head && linear.get("embed") == weight(Kind::I4, 32));
    assert_eq!(linear.get("layers.1.q"), weight(Kind::I4, 32));

    let both = assigned(r#"{"linear:int4": {}, "embedding": {"bitwidth": 8}}"#);
    assert!(!both.shared_head);
    assert_eq!((both.get("embed"), both.get("head")), (weight(Kind::I8, 64), weight(Kind::I4, 32)));

    let rows = assigned(r#"{"linear:int8": {"groupsize": 0}, "embedding": {"bitwidth": 8}}"#);
    assert!(rows.shared_head);
    let methods = assigned(r#"{"linear:kind": {"kind": "i8", "method": "gptq"}, "embedding:kind": {"kind": "i8"}}"#);
    assert!(methods.shared_head);
    assert_eq!((methods.get("embed"), methods.method("embed")), (weight(Kind::I8, 32), Some(Method::Gptq)));
    // 72 inputs of `down` are padded to 96.
    assert_eq!(rows.get("layers.0.down"), weight(Kind::I8, 96));
}

#[test]
fn a_trellis_takes_whole_steps() {
    let config = tiny_config();
    let tensors = tiny_tensors(&config);
    for (json, expected) in [
        (r#"{"linear:kind": {"kind": "t3"}}"#, "t3 takes rows of a multiple of 32 inputs, and embed has 40"),
        (r#"{"overrides": [{"layers": "*.1.down", "linear:kind": {"kind": "t2"}}]}"#, "and layers.1.down has 72"),
    ] {
        let message = assign(&Recipe::from_json(json).unwrap(), &config, &tensors).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn profiles_are_torchchats() {
    let lines = [
        ("mobile", "linear i4 in groups of 256, embedding i4 in groups of 32, the rest as in the checkpoint"),
        ("desktop", "linear bf16"),
        ("cuda", "linear i4 in groups of 256, the rest bf16"),
        ("pi5", "linear i4 in groups of 256, embedding i4 in groups of 32, the rest bf16"),
    ];
    for (name, line) in lines {
        assert_eq!(Recipe::from_argument(name).unwrap().to_string(), line, "{name}");
    }
}

#[test]
fn the_last_override_that_matches_counts() {
    let config = tiny_config();
    let tensors = tiny_tensors(&config);
    let recipe = |json: &str| Recipe::from_json(json).unwrap();
    let overridden = recipe(
        r#"{"linear:int4": {}, "overrides": [
            {"layers": "layers.0.*", "linear:int8": {}},
            {"layers": "*.q", "linear:kind": {"kind": "k6"}},
            {"layers": "head", "precision": {"dtype": "f16"}}
        ]}"#,
    );
    let assigned = assign(&overridden, &config, &tensors).unwrap();
    assert_eq!(assigned.get("layers.0.k"), weight(Kind::I8, 64));
    assert_eq!(assigned.get("layers.0.q"), weight(Kind::K6, 256));
    assert_eq!(assigned.get("layers.1.k"), weight(Kind::I4, 32));
    assert_eq!(assigned.method("layers.1.k"), Some(Method::Nearest));
    // The tied embedding is the head's matrix where nothing is said of it.
    assert!(assigned.shared_head && assigned.get("embed") == weight(Kind::F16, 0));

    let nothing = recipe(r#"{"overrides": [{"layers": "layers.*.query", "linear:int8": {}}]}"#);
    let message = assign(&nothing, &config, &tensors).unwrap_err().to_string();
    assert!(message.contains("\"layers.*.query\""), "{message}");
}

#[test]
fn what_a_checkpoint_has_is_kept() {
    let config = ModelConfig { dim: 256, head_dim: 64, ..tiny_config() };
    let mut tensors = tiny_tensors(&config);
    let mut put = |name: &str, rows: usize, encoding: Encoding| {
        let bytes = vec![0; encoding.bytes(rows * 256).unwrap()];
        tensors.insert(name.to_string(), stored(name, &[rows, 256], encoding, &bytes));
    };
    put("layers.0.q", 256, Encoding::Q4K);
    put("layers.0.k", 128, Encoding::Q4K);
    put("layers.0.v", 128, Encoding::Q6K);
    put("layers.0.o", 256, Encoding::Q4_0);
    put("layers.1.v", 128, Encoding::Q8_0);
    put("layers.1.o", 256, Encoding::Bf16);
    let kept = assign(&Recipe::default(), &config, &tensors).unwrap();
    assert_eq!(kept.get("layers.0.q"), weight(Kind::K4, 256));
    assert_eq!(kept.get("layers.0.v"), weight(Kind::K6, 256));
    assert_eq!(kept.get("layers.0.o"), weight(Kind::I4, 32));
    assert_eq!(kept.get("layers.1.v"), weight(Kind::I8, 32));
    assert_eq!(kept.get("layers.1.o"), weight(Kind::Bf16, 0));
    let f16 = assign(&Recipe::default().with_dtype(Kind::F16).unwrap(), &config, &tensors).unwrap();
    assert_eq!(f16.get("layers.0.q"), weight(Kind::F16, 0));
}
