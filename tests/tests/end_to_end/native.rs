//! Both encodings of a program compute the same: over every golden, however calls are cut.

use std::error::Error;
use std::sync::Arc;

use tc_tests::golden::{self, Golden};
use tcrt::{EngineOptions, KvType, Model};

use crate::artifact::{golden_model, golden_native};
use crate::calls::{Cut, furthest, run};

const RECIPES: [&str; 5] = [
    "{}",
    r#"{"linear:int8": {"groupsize": 32}}"#,
    r#"{"linear:int8": {"groupsize": 32}, "activations": {"dtype": "int16"}}"#,
    r#"{"linear:int4": {"groupsize": 32}, "precision": {"dtype": "f16"}}"#,
    // Gate and up of two types stay apart, so that their silu and mul are loops of the code's own.
    r#"{"linear:int8": {"groupsize": 32}, "overrides": [{"layers": "layers.*.up", "precision": {"dtype": "f16"}}]}"#,
];

/// The largest difference of two models' logits, by the largest logit; an error where the greedy tokens differ.
fn difference(program: &Arc<Model>, native: &Arc<Model>, golden: &Golden, cut: Cut) -> Result<f32, Box<dyn Error>> {
    let logits = |model: &Arc<Model>, threads| {
        let options = EngineOptions { threads, kv_dtype: KvType::F16, ..EngineOptions::default() };
        run(model, &options, &golden.sequences, cut)
    };
    let (expected, mut worst) = (logits(program, 2)?, 0f32);
    for threads in [1, 2] {
        let found = logits(native, threads)?;
        worst = worst.max(furthest(&expected, &found));
        let greedy = |row: &Vec<f32>| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token);
        if !expected.iter().flatten().map(greedy).eq(found.iter().flatten().map(greedy)) {
            return Err("another greedy token".into());
        }
    }
    Ok(worst)
}

#[test]
fn native_code_computes_what_the_program_file_does() {
    for name in golden::names().unwrap() {
        let golden = Golden::load(&name).unwrap();
        for recipe in RECIPES {
            let (program, native) = (golden_model(&golden, recipe).unwrap(), golden_native(&golden, recipe).unwrap());
            assert!(program.program().is_some() && native.program().is_none());
            for cut in [Cut::Whole, Cut::Single, Cut::Ragged] {
                let worst = difference(&program, &native, &golden, cut).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(worst <= 1e-5, "{name} {recipe} {cut:?}: {worst:.1e}");
            }
        }
    }
}

/// Made by `tcc export tests/fixtures/hf --quantize '{"linear:int8": {"groupsize": 32}}'` when the ABI was new; the logits are what
/// `tcrt logits --tokens 1,2,3,4,5 --json` gave. Artifacts of this ABI must load, and compute the same, for as long as its major
/// version stands.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn the_first_artifact_still_runs() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    let expected = std::fs::read(directory.join("x86_64-linux-1.0.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let expected: Vec<f32> = serde_json::from_value(expected["logits"].clone()).unwrap();
    let model = Model::load(&directory.join("x86_64-linux-1.0.so")).unwrap();
    assert_eq!(model.info().vocab, expected.len());
    for whole in [true, false] {
        let mut session = tcrt::Session::new(Arc::clone(&model), &EngineOptions::default()).unwrap();
        let tokens = [1, 2, 3, 4, 5];
        let calls: Vec<&[u32]> = if whole { vec![&tokens] } else { tokens.chunks(1).collect() };
        for (at, call) in calls.iter().enumerate() {
            let logits = session.prefill(call).unwrap();
            if at + 1 == calls.len() {
                let far = logits.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(far < 1e-2, "{far}");
            }
        }
    }
}
