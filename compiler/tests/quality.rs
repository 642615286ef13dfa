//! The page of figures that an export leaves on request.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tcc_core::eval::{EvalOptions, Subject};
use tcc_core::export::{ExportOptions, export};
use tcc_core::quality::{DEFAULT_TEXT, NamedText, Page, Quality, measure};
use tcc_core::recipe::Recipe;
use tcc_core::synth::{Dtype, synth};

const TEXT: NamedText = NamedText { name: "a </script> text", text: DEFAULT_TEXT };

fn go_on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn model(folder: &Path) -> PathBuf {
    let directory = folder.join("tiny");
    synth("tiny", &directory, Dtype::F32, &|_, _| {}).unwrap();
    directory
}

fn quality(model: &Path, recipe: &str, artifact: &str) -> Quality {
    let path = model.with_file_name(artifact);
    let options = ExportOptions {
        recipe: Recipe::from_json(recipe).unwrap(),
        calibration: Some(DEFAULT_TEXT.chars().take(4000).collect()),
        progress: &go_on,
        ..ExportOptions::default()
    };
    let report = export(model, &path, options).unwrap();
    let base = Subject::open(model, None, None, None, &go_on).unwrap();
    let options = EvalOptions { ctx: Some(64), limit: Some(2), ..EvalOptions::default() };
    measure(&path, &base, &report, TEXT, &options, &go_on).unwrap()
}

fn kld(quality: &Quality) -> f64 {
    quality.predictions.divergence.as_ref().unwrap().kld.value
}

/// What an export writes.
fn bytes(model: &Path, recipe: &str, text: &str) -> Vec<u8> {
    let path = model.with_file_name("said.pte");
    let (recipe, calibration) = (Recipe::from_json(recipe).unwrap(), Some(text.to_string()));
    export(model, &path, ExportOptions { recipe, calibration, ..ExportOptions::default() }).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_text_of_ones_own_stays_alone_unless_the_recipe_asks_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let text: String = DEFAULT_TEXT.chars().take(4000).collect();
    let [alone, none, more] = ["", r#", "calibration": {"said": 0}"#, r#", "calibration": {"said": 2}"#]
        .map(|said| bytes(&model, &format!(r#"{{"linear:kind": {{"kind": "n3", "method": "gptq"}}{said}}}"#), &text));
    assert_eq!(alone, none);
    assert_ne!(alone, more);
}

#[test]
fn fewer_bits_are_smaller_and_farther_from_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let [floats, eight, three] =
        ["{}", r#"{"linear:int8": {}}"#, r#"{"linear:a8wxdq": {"bitwidth": 3, "groupsize": 32}}"#]
            .map(|recipe| quality(&model, recipe, "model.pte"));
    assert_eq!(kld(&floats), 0.0);
    assert!(kld(&eight) > 0.0 && kld(&three) > kld(&eight), "{} and {}", kld(&eight), kld(&three));
    assert!(floats.matrices.iter().all(|matrix| matrix.error.is_none()));
    for (matrix, fewer) in eight.matrices.iter().zip(&three.matrices) {
        assert_eq!(matrix.name, fewer.name);
        if let (Some(error), Some(of_fewer)) = (matrix.error, fewer.error) {
            assert!(
                fewer.bytes < matrix.bytes && of_fewer > error && error > 0.0,
                "{}: {error}, {of_fewer}",
                matrix.name
            );
        }
    }
    let bytes = |quality: &Quality| quality.matrices.iter().map(|matrix| matrix.bytes).sum::<u64>();
    let bits = three.bits_per_weight.unwrap();
    let weights: usize = three.matrices.iter().map(|matrix| matrix.rows * matrix.cols).sum();
    assert!((bits - 8.0 * bytes(&three) as f64 / weights as f64).abs() < 0.2, "{bits} bits");
}

#[test]
fn methods_that_rescale_channels_are_measured_against_the_rescaled_floats() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let quality = quality(&model, r#"{"linear:awq": {"bitwidth": 8, "groupsize": 32}}"#, "model.pte");
    let worst = quality.matrices.iter().filter_map(|matrix| matrix.error).fold(0.0, f64::max);
    assert!(worst > 0.0 && worst < 1e-3, "{worst}");
}

#[test]
fn a_page_gathers_the_exports_written_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (model, path) = (model(folder.path()), folder.path().join("page.html"));
    for (recipe, artifact) in
        [("{}", "floats.pte"), (r#"{"linear:int8": {}}"#, "small.pte"), (r#"{"linear:int4": {}}"#, "small.pte")]
    {
        let mut page = Page::open(&path).unwrap();
        page.add(&quality(&model, recipe, artifact));
        page.write().unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    let figures = page.split_once("type=\"application/json\">").unwrap().1.split_once("</script>").unwrap().0;
    let exports: Vec<Value> = serde_json::from_str(figures).unwrap();
    let artifacts: Vec<&str> = exports.iter().map(|export| export["artifact"].as_str().unwrap()).collect();
    assert_eq!(artifacts, ["floats.pte", "small.pte"]);
    assert!(exports[1]["recipe"].as_str().unwrap().contains("i4"), "{}", exports[1]["recipe"]);
    assert_eq!(exports[1]["text"], TEXT.name);
}
