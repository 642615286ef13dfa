//! Both encodings of a program compute the same: over every golden, however calls are cut.

use std::error::Error;
use std::sync::Arc;

use tc_tests::golden::{self, Golden};
use tcrt::{EngineOptions, KvType, Model};

use crate::artifact::{golden_model, golden_native};
use crate::calls::{Cut, run};

const RECIPES: [&str; 3] = [
    "{}",
    r#"{"linear:int8": {"groupsize": 32}}"#,
    r#"{"linear:int4": {"groupsize": 32}, "precision": {"dtype": "f16"}}"#,
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
        for (expected, found) in expected.iter().flatten().zip(found.iter().flatten()) {
            let largest = expected.iter().fold(0f32, |most, logit| most.max(logit.abs()));
            let far = expected.iter().zip(found).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            worst = worst.max(far / largest);
            let greedy = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token);
            if greedy(expected) != greedy(found) {
                return Err("another greedy token".into());
            }
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
