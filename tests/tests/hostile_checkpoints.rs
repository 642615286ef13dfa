//! Damaged checkpoints of every format: each is read or refused with one line that names the file, and nothing panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

use tc_tests::fixtures;
use tc_tests::synthetic::splitmix64;
use tcc_core::checkpoint::{self, OpenOptions};

/// What is done to a file's bytes.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Truncate(usize),
    Append(usize),
    Byte(usize, u8),
    /// Eight bytes become a length, an offset or a float that no file means.
    Word(usize, u64),
}

impl Damage {
    fn apply(self, data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        match self {
            Damage::Truncate(len) => data.truncate(len),
            Damage::Append(count) => data.extend(std::iter::repeat_n(0xA5, count)),
            Damage::Byte(at, value) => data[at] ^= value,
            Damage::Word(at, value) => data[at..at + 8].copy_from_slice(&value.to_le_bytes()),
        }
        data
    }

    /// The same damages for the same file, dense where headers are.
    fn all(len: usize) -> Vec<Damage> {
        const WORDS: [u64; 5] = [0, u64::MAX, 1 << 63, 0x7FC0_7FC0_7FC0_7FC0, 0x0000_0001_0000_0000];
        let mut out = vec![Damage::Append(1), Damage::Append(4096)];
        out.extend(
            (0..len.min(48))
                .chain((1..40).map(|i| len * i / 40))
                .chain(len.saturating_sub(24)..len)
                .map(Damage::Truncate),
        );
        for i in 0..240_u64 {
            let random = splitmix64(i);
            let region = if i % 3 == 0 { len } else { len.min(1024) };
            let at = (random >> 16) as usize % region;
            out.push(Damage::Byte(at, (random as u8).max(1)));
            let start = if i % 4 == 1 { len.saturating_sub(2048) + at % 2048.min(len) } else { at };
            if start + 8 <= len {
                out.push(Damage::Word(start, WORDS[(random >> 8) as usize % WORDS.len()]));
            }
        }
        out
    }
}

/// Opens a checkpoint and reads all its weights.
fn read_all(path: &Path, options: &OpenOptions) -> Result<usize, String> {
    let checkpoint = checkpoint::open(path, options).map_err(|e| e.to_string())?;
    let mut values = 0;
    for tensor in checkpoint.tensors.values() {
        let mut row = vec![0.0; tensor.cols()];
        for i in 0..tensor.rows() {
            tensor.read_row(i, &mut row).map_err(|e| e.to_string())?;
            values += row.len();
        }
    }
    Ok(values)
}

/// Damages `victim`, a file of a copy of the fixture, in every way, and reads `path` each time.
fn damage_and_read(path: &Path, victim: &Path, options: &OpenOptions) -> Vec<String> {
    let original = fs::read(victim).unwrap();
    let file = victim.file_name().unwrap().to_string_lossy().into_owned();
    let mut faults = Vec::new();
    for damage in Damage::all(original.len()) {
        // Removed first: some file systems flush a file that is truncated and written again.
        fs::remove_file(victim).unwrap();
        fs::write(victim, damage.apply(&original)).unwrap();
        let what = format!("{}: {damage:?}", victim.display());
        match catch_unwind(AssertUnwindSafe(|| read_all(path, options))) {
            Err(_) => faults.push(format!("{what}: panicked")),
            Ok(Err(line)) if line.chars().any(char::is_control) || line.len() > 1200 => {
                faults.push(format!("{what}: not one line: {line:?}"));
            }
            Ok(Err(line)) if !line.contains(&file) && !line.contains(&*path.to_string_lossy()) => {
                faults.push(format!("{what}: names no file: {line}"));
            }
            // A few bytes at the end may be padding.
            Ok(Ok(_)) if matches!(damage, Damage::Truncate(len) if len + 32 < original.len()) => {
                faults.push(format!("{what}: read as whole"));
            }
            Ok(_) => {}
        }
    }
    fs::write(victim, original).unwrap();
    faults
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// Damages every file of one fixture, the small ones (configs, indices) included.
fn check(name: &str) {
    let all = fixtures::all();
    let fixture = &all[name];
    let (source, scratch) = (&fixture.path, tempfile::tempdir().unwrap());
    let mut path = scratch.path().to_owned();
    if source.is_dir() {
        copy(source, &path).unwrap();
    } else {
        path.push(source.file_name().unwrap());
        fs::copy(source, &path).unwrap();
    }
    let params = fixture.params_path().map(|beside| {
        let params = scratch.path().join("params.json");
        fs::copy(beside, &params).unwrap();
        params
    });
    let options = OpenOptions { params_path: params };
    assert!(read_all(&path, &options).is_ok_and(|values| values > 1000), "{name}: {:?}", read_all(&path, &options));
    let victims = files_in(scratch.path());
    let faults: Vec<String> = victims.iter().flat_map(|victim| damage_and_read(&path, victim, &options)).collect();
    assert!(
        faults.is_empty(),
        "{name}: {} faults, the first:\n{}",
        faults.len(),
        faults[..faults.len().min(12)].join("\n")
    );
}

macro_rules! hostile {
    ($($test:ident: $fixture:literal,)*) => { $(
        #[test]
        fn $test() {
            check($fixture);
        }
    )* };
}

hostile! {
    hugging_face: "hf",
    hugging_face_sharded: "hf-sharded",
    gguf_f16: "gguf-f16",
    gguf_version_2: "gguf-f32-v2",
    gguf_mixed: "gguf-mixed",
    gguf_qwen2: "gguf-qwen2",
    gguf_granite: "gguf-granite",
    pytorch_bin: "bin",
    pytorch_bin_legacy: "bin-legacy",
    pytorch_bin_sharded: "bin-sharded",
    meta_llama2: "meta-llama2",
    meta_llama3: "meta-llama3",
    gpt_fast: "gpt-fast",
    torchchat: "torchchat",
    torchtune: "torchtune",
    tinyllamas: "tinyllamas",
    llama2c_legacy: "llama2c-legacy",
    llama2c_version_1: "llama2c-v1",
    llama2c_version_2: "llama2c-v2",
}

#[test]
fn a_pickle_that_calls_is_refused_and_not_run() {
    let line = read_all(&fixtures::directory().join("evil.pth"), &OpenOptions::default()).unwrap_err();
    assert!(line.contains("evil.pth") && line.contains("system"), "{line}");
    assert!(!Path::new("/tmp/executed-by-pickle").exists());
}
