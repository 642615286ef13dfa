//! Every checkpoint format gives the logits that `transformers` computes with the same numbers.

use std::error::Error;

use tc_tests::fixtures::{self, Fixture};
use tcc_core::checkpoint::{self, OpenOptions};
use tcrt::{EngineOptions, KvType, Session};

use crate::artifact::export;

const TOLERANCE: f32 = 2e-4;

/// The largest difference of a logit.
fn difference(fixture: &Fixture) -> Result<f32, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let checkpoint = checkpoint::open(&fixture.path, &OpenOptions { params_path: fixture.params_path() })?;
    let model = export(&checkpoint, r#"{"precision": {"dtype": "fp32"}}"#, &scratch.path().join("model.pte"))?;
    let options = EngineOptions { threads: 1, kv_dtype: KvType::F32, ..EngineOptions::default() };
    let mut session = Session::new(model, &options)?;
    let logits = session.prefill(&fixture.prompt)?;
    assert_eq!(logits.len(), fixture.logits.len());
    let differences = logits.iter().zip(&fixture.logits).map(|(a, b)| (a - b).abs());
    Ok(differences.fold(0.0, f32::max))
}

#[test]
fn every_format_gives_the_logits_of_transformers() {
    let mut faults = Vec::new();
    for (name, fixture) in fixtures::all() {
        match difference(&fixture) {
            Ok(worst) if worst <= TOLERANCE => {}
            Ok(worst) => faults.push(format!("{name}: differs by {worst:.1e}")),
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
