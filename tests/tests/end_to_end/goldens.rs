//! Every architecture computes what `transformers` computes: prefill, decoding token by token, and ragged batches.

use std::error::Error;

use tc_ir::Bounds;
use tc_ir::interp::{Batch, Interpreter};
use tc_kernels::table::{Features, Tier};
use tc_tests::golden::{self, Golden};
use tcc_core::checkpoint::{self, OpenOptions};
use tcc_core::emit::{Constant, Constants};
use tcc_core::models;
use tcc_core::recipe::{Recipe, assign};
use tcrt::{EngineOptions, KvType};

use crate::artifact::golden_model;
use crate::calls::{Cut, difference, furthest, run};

/// For f32 everywhere.
const TOLERANCE: f32 = 2e-4;

/// Runs a check on every golden and reports all that fail.
fn for_every_golden(check: impl Fn(&Golden) -> Result<Vec<String>, Box<dyn Error>>) {
    let mut faults = Vec::new();
    for name in golden::names().unwrap() {
        let golden = Golden::load(&name).unwrap();
        match check(&golden) {
            Ok(found) => faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}"))),
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The frontend's graph, before any pass and without any kernel.
#[test]
fn the_interpreter_gives_the_logits_of_transformers() {
    for_every_golden(|golden| {
        let dir = tempfile::tempdir()?;
        golden.checkpoint.write_hugging_face(dir.path(), 3)?;
        let checkpoint = checkpoint::open(dir.path(), &OpenOptions::default())?;
        let weights = assign(&Recipe::default(), &checkpoint.config, &checkpoint.tensors).unwrap();
        let graph = models::build(&checkpoint.config, &weights, Bounds { tokens: 512, rows: 512 })?;
        let constants = Constants::new(&checkpoint.config, &checkpoint.tensors);
        let values = |name: &str| match constants.get(name)? {
            Constant::Values(values) => Some(values.clone()),
            Constant::Tensor(tensor) => {
                let mut values = vec![0.0; tensor.rows() * tensor.cols()];
                let mut rows = values.chunks_exact_mut(tensor.cols()).enumerate();
                rows.try_for_each(|(i, row)| tensor.read_row(i, row)).ok()?;
                Some(values)
            }
        };
        let mut interpreter = Interpreter::new(&graph, values)?;
        let mut logits = Vec::new();
        for (id, sequence) in golden.sequences.iter().enumerate() {
            let out = interpreter.run(&Batch::sequence(id as u32, 0, &sequence.tokens))?;
            logits.push(out.data.chunks(out.width).map(<[f32]>::to_vec).collect());
        }
        let worst = difference(&golden.sequences, &logits).worst;
        Ok(if worst <= TOLERANCE { vec![] } else { vec![format!("differs by {worst:.1e}")] })
    });
}

#[test]
fn f32_gives_the_logits_of_transformers_however_calls_are_cut() {
    for_every_golden(|golden| {
        let model = golden_model(golden, "{}")?;
        let mut faults = Vec::new();
        for (tier, cut, threads) in [
            (Tier::Scalar, Cut::Whole, 1),
            (Tier::Scalar, Cut::Ragged, 1),
            (Tier::Avx2, Cut::Whole, 3),
            (Tier::Avx2, Cut::Single, 1),
            (Tier::Avx2, Cut::Ragged, 2),
            (Tier::Avx512, Cut::Whole, 2),
            (Tier::Avx512, Cut::Single, 1),
            (Tier::Amx, Cut::Whole, 2),
        ] {
            if !Features::detect().has(tier.needs()) {
                println!("skipped: this machine has no {}", tier.name());
                continue;
            }
            let options =
                EngineOptions { threads, kv_dtype: KvType::F32, tier: Some(tier), ..EngineOptions::default() };
            let logits = run(&model, &options, &golden.sequences, cut)?;
            let worst = difference(&golden.sequences, &logits).worst;
            if worst > TOLERANCE {
                faults.push(format!("{} {cut:?} differs by {worst:.1e}", tier.name()));
            }
        }
        Ok(faults)
    });
}

/// What smaller formats may cost. Random weights of these scales double an error every layer, and rounding to nearest loses most
/// on them: these bounds tell a wrong format from a right one, not how good a quantizer is.
#[test]
fn smaller_formats_stay_within_their_bounds() {
    for (recipe, bound) in [
        ("{}", 0.004),
        (r#"{"precision": {"dtype": "f16"}}"#, 0.005),
        (r#"{"precision": {"dtype": "bf16"}}"#, 0.04),
        (r#"{"linear:int8": {"groupsize": 32}}"#, 0.1),
        (r#"{"linear:int4": {"groupsize": 32}}"#, 0.7),
    ] {
        for_every_golden(|golden| {
            let model = golden_model(golden, recipe)?;
            let options = EngineOptions { threads: 2, kv_dtype: KvType::F16, ..EngineOptions::default() };
            let logits = run(&model, &options, &golden.sequences, Cut::Ragged)?;
            let relative = difference(&golden.sequences, &logits).relative;
            Ok(if relative <= bound { vec![] } else { vec![format!("{recipe}: differs by {relative:.3}")] })
        });
    }
}

/// Activations in 16 bits are nearly exact: what they cost is far below what the weights' rounding does, and what 8 bits do.
#[test]
fn activations_in_16_bits_are_nearly_exact() {
    let with =
        |dtype: &str| format!(r#"{{"linear:int8": {{"groupsize": 32}}, "activations": {{"dtype": "{dtype}"}}}}"#);
    for_every_golden(|golden| {
        let logits = |dtype: &str| -> Result<_, Box<dyn Error>> {
            let options = EngineOptions { threads: 2, kv_dtype: KvType::F16, ..EngineOptions::default() };
            Ok(run(&golden_model(golden, &with(dtype))?, &options, &golden.sequences, Cut::Ragged)?)
        };
        let (exact, near, far) = (logits("f32")?, logits("int16")?, logits("int8")?);
        let (near, far) = (furthest(&exact, &near), furthest(&exact, &far));
        let holds = near <= 5e-3 && near <= far / 10.0;
        Ok(if holds { vec![] } else { vec![format!("16 bits differ by {near:.1e}, 8 by {far:.1e}")] })
    });
}
