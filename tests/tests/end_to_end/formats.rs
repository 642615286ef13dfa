//! Every checkpoint format gives the logits that `transformers` computes with the same numbers.

use std::error::Error;

use tc_tests::fixtures::{self, Fixture};
use tcrt::{EngineOptions, KvType, Session};

use crate::artifact::model;

const TOLERANCE: f32 = 2e-4;

/// The largest difference of a logit.
fn difference(fixture: &Fixture) -> Result<f32, Box<dyn Error>> {
    let model = model(&fixture.path, fixture.params_path(), r#"{"precision": {"dtype": "fp32"}}"#)?;
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
