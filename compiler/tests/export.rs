//! The pipeline from a checkpoint's path to a file that the runtime loads.

use std::path::{Path, PathBuf};

use tc_tests::fixtures;
use tcc_core::export::{ExportError, ExportOptions, Report, Warning, export};
use tcc_core::inspect;
use tcc_core::recipe::Recipe;
use tcrt::Model;

fn fixture(name: &str) -> PathBuf {
    fixtures::directory().join(name)
}

fn export_to(directory: &Path, name: &str, options: ExportOptions) -> Result<(PathBuf, Report), ExportError> {
    let output = directory.join("model.pte");
    export(&fixture(name), &output, options).map(|report| (output, report))
}

#[test]
fn every_format_of_one_model_becomes_the_same_program() {
    let directory = tempfile::tempdir().unwrap();
    let notes = |name: &str| -> Vec<String> {
        let options =
            ExportOptions { recipe: Recipe::from_json(r#"{"linear:int4": {}}"#).unwrap(), ..ExportOptions::default() };
        let (path, _) = export_to(directory.path(), name, options).unwrap_or_else(|error| panic!("{name}: {error}"));
        Model::load(&path)
            .unwrap()
            .program()
            .unwrap()
            .instructions
            .iter()
            .map(|instruction| instruction.note.clone())
            .collect()
    };
    let first = notes("hf");
    for name in ["hf-sharded", "bin", "meta-llama2", "torchtune/model.pth", "tiny-f32-v2.gguf", "llama2c-v1.bin"] {
        let others = notes(name);
        // The head, which is last, is tied in some of the formats.
        assert_eq!(others[..others.len() - 1], first[..first.len() - 1], "{name}");
    }
}

#[test]
fn the_artifact_says_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (path, report) =
        export_to(directory.path(), "hf", ExportOptions { max_positions: Some(32), ..ExportOptions::default() })
            .unwrap();
    assert!(matches!(report.warnings[..], [Warning::NoTokenizer(_)]), "{:?}", report.warnings);
    let model = Model::load(&path).unwrap();
    assert_eq!(model.info().max_positions, 32);
    assert_eq!(model.stop_tokens(), [2]);
    assert_eq!(model.info().file_bytes, report.written.file_bytes);
    let metadata = |key: &str| model.info().metadata.iter().find(|entry| entry.0 == key).map(|entry| entry.1.clone());
    assert_eq!(metadata("family").as_deref(), Some("llama"));
    assert_eq!(metadata("recipe").as_deref(), Some("linear as in the checkpoint"));

    let text = inspect::inspect(&path, None).unwrap();
    for part in ["program file", "layers.0.q+k+v", "rope_kv", "bytes a token of a call", "values a position"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(inspect::inspect(&fixture("hf"), None).unwrap().contains("layers.1.down"));
}

#[test]
fn graphs_are_shown_after_any_pass() {
    let graph = |path: &Path, pass| inspect::graph(path, None, &Recipe::default(), pass);
    let plain = graph(&fixture("hf"), Some("frontend")).unwrap();
    assert!(plain.contains("silu") && !plain.contains("swiglu"));
    let last = graph(&fixture("hf"), None).unwrap();
    assert!(last.contains("swiglu") && tc_ir::parse(&last).is_ok());
    let message = graph(&fixture("hf"), Some("fuse-everything")).unwrap_err().to_string();
    assert!(message.contains("fuse-everything") && message.contains("merge-qkv"), "{message}");

    let directory = tempfile::tempdir().unwrap();
    let (path, _) = export_to(directory.path(), "hf", ExportOptions::default()).unwrap();
    assert!(graph(&path, None).unwrap_err().to_string().contains("is an artifact"));
}

#[test]
fn what_was_asked_for_and_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let message = |options| export_to(directory.path(), "hf", options).unwrap_err().to_string();
    assert!(message(ExportOptions { max_positions: Some(0), ..ExportOptions::default() }).contains("context of 0"));
    assert!(message(ExportOptions { max_positions: Some(65), ..ExportOptions::default() }).contains("the model's 64"));
    let tokenizer = Some(fixture("hf/config.json"));
    assert!(message(ExportOptions { tokenizer, ..ExportOptions::default() }).contains("config.json"));
    let gguf = ExportOptions { chat_template: Some("llama9".to_string()), ..ExportOptions::default() };
    let error = export_to(directory.path(), "mixed.gguf", gguf).unwrap_err().to_string();
    assert!(error.contains("llama9") && error.contains("llama3"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
