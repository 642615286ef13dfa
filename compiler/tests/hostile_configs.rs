//! Damaged and absurd JSON beside the weights (shape, index, parameters): an error of one line that names the file or the key,
//! or a checkpoint that opens; never a panic, and never memory by the gigabyte.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tc_tests::fixtures;
use tcc_core::checkpoint::{OpenOptions, open};

/// A copy of a fixture's directory, and the JSON files in it.
fn copy(name: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut jsons = Vec::new();
    for entry in fs::read_dir(fixtures::directory().join(name)).unwrap() {
        let path = entry.unwrap().path();
        let target = folder.path().join(path.file_name().unwrap());
        fs::copy(&path, &target).unwrap();
        if target.extension().is_some_and(|extension| extension == "json") {
            jsons.push(target);
        }
    }
    (folder, jsons)
}

/// Opens the directory with `bytes` in place of `file`; what it says is one line.
fn open_with(root: &Path, file: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(file, bytes).unwrap();
    let error = match open(root, &OpenOptions::default()) {
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    assert!(!error.is_empty() && !error.contains('\n') && error.len() < 2000, "{}: {error}", file.display());
    Err(error)
}

fn each_json(test: impl Fn(&Path, &Path, &[u8])) {
    let mut seen = 0;
    for name in ["hf-sharded", "meta-llama3", "bin-sharded"] {
        let (folder, jsons) = copy(name);
        for file in jsons {
            let bytes = fs::read(&file).unwrap();
            test(folder.path(), &file, &bytes);
            fs::write(&file, &bytes).unwrap();
            assert_eq!(open_with(folder.path(), &file, &bytes), Ok(()), "the fixture itself opens");
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} files were found");
}

#[test]
fn cut_files_are_errors() {
    each_json(|root, file, bytes| {
        let end = String::from_utf8_lossy(bytes).trim_end().len();
        for keep in (0..end).step_by(7).chain([end - 1]) {
            let error = open_with(root, file, &bytes[..keep]).expect_err("half of a JSON file was taken");
            assert!(error.contains(&root.display().to_string()), "{error}");
        }
    });
}

#[test]
fn flipped_bits_are_errors_or_harmless() {
    each_json(|root, file, bytes| {
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            let _ = open_with(root, file, &damaged);
        }
    });
}

#[test]
fn absurd_values_are_errors_or_harmless() {
    let absurd =
        ["0", "-1", "1e300", "18446744073709551615", "1000000000000", "3", "null", "\"x\"", "[]", "{}", "true"];
    each_json(|root, file, bytes| {
        let json: Value = serde_json::from_slice(bytes).unwrap();
        for key in json.as_object().unwrap().keys() {
            for value in absurd {
                let mut changed = json.clone();
                changed[key] = serde_json::from_str(value).unwrap();
                let _ = open_with(root, file, &serde_json::to_vec(&changed).unwrap());
            }
        }
    });
}
