//! The checkpoints under `tests/fixtures`: one tiny Llama in every format, written by other programs (`tests/peers/make_fixtures.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What a reader must find in one fixture.
#[derive(Debug, Deserialize)]
pub struct Fixture {
    /// A file or a directory below `tests/fixtures`.
    pub path: PathBuf,
    pub prompt: Vec<u32>,
    /// What `transformers` computes in f32 with the fixture's numbers after the prompt.
    pub logits: Vec<f32>,
    /// By Hugging Face name, in Hugging Face's row order (rope halves), whatever the file's own.
    pub tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Deserialize)]
pub struct Tensor {
    pub shape: Vec<usize>,
    /// How the file stores it: `f32`, `f16`, `bf16`, `q8` (llama2.c version 2) or GGUF's name in lower case.
    pub dtype: String,
    pub sum: f64,
    pub sum_sq: f64,
    /// The sum of `value * (index + 1) / count`, which sees the order.
    pub moment: f64,
    pub first: Vec<f32>,
}

impl Tensor {
    /// Says how `values` (row-major) differ from what the fixture holds. Sums are compared to within `1e-6` of the summed magnitudes,
    /// which tells any two tensors of these fixtures apart but not two ways to add them up.
    pub fn check(&self, values: &[f32]) -> Result<(), String> {
        let count: usize = self.shape.iter().product();
        if values.len() != count {
            return Err(format!("{} values, not {count}", values.len()));
        }
        if !values.starts_with(&self.first) {
            return Err(format!("starts {:?}, not {:?}", &values[..self.first.len()], self.first));
        }
        let magnitude = (self.sum_sq * count as f64).sqrt();
        let sum_of = |f: fn(f64, f64) -> f64| -> f64 {
            values.iter().enumerate().map(|(i, &v)| f(f64::from(v), (i + 1) as f64)).sum()
        };
        for (what, found, expected, scale) in [
            ("sum", sum_of(|v, _| v), self.sum, magnitude),
            ("sum of squares", sum_of(|v, _| v * v), self.sum_sq, self.sum_sq),
            ("moment", sum_of(|v, i| v * i) / count as f64, self.moment, magnitude),
        ] {
            if (found - expected).abs() > 1e-6 * scale {
                return Err(format!("{what} {found}, not {expected}"));
            }
        }
        Ok(())
    }
}

/// `tests/fixtures`.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

impl Fixture {
    /// `params.json` beside a single file that does not say its shape.
    pub fn params_path(&self) -> Option<PathBuf> {
        let beside = self.path.parent().filter(|_| self.path.is_file())?.join("params.json");
        beside.exists().then_some(beside)
    }
}

/// Every fixture by name, with its path made absolute.
pub fn all() -> BTreeMap<String, Fixture> {
    let path = directory().join("expected.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut fixtures: BTreeMap<String, Fixture> =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for fixture in fixtures.values_mut() {
        fixture.path = directory().join(&fixture.path);
    }
    fixtures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_f32_fixtures_hold_the_synthetic_model() {
        for (name, fixture) in all() {
            assert!(fixture.path.exists(), "{name}: {}", fixture.path.display());
            assert!(fixture.tensors.len() >= 12, "{name}");
            for (tensor, expected) in fixture.tensors.iter().filter(|(_, t)| t.dtype == "f32") {
                let values = crate::synthetic::tensor(tensor, &expected.shape, 1);
                assert_eq!(expected.check(&values), Ok(()), "{name}: {tensor}");
            }
        }
    }

    #[test]
    fn a_wrong_tensor_is_told_apart() {
        let fixtures = all();
        let expected = &fixtures["hf"].tensors["lm_head.weight"];
        let mut values = crate::synthetic::tensor("lm_head.weight", &expected.shape, 1);
        assert_eq!(expected.check(&values), Ok(()));
        values.swap(100, 200);
        assert!(expected.check(&values).is_err_and(|e| e.starts_with("moment")));
        values[100] = -values[100];
        assert!(expected.check(&values).is_err_and(|e| e.starts_with("sum")));
    }
}
