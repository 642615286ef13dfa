//! Damaged and hostile checkpoints of every format: an error of one line that names the file, never a panic; and where damage goes
//! unnoticed (it hit a weight), everything can still be read.

use std::path::{Path, PathBuf};

use tc_tests::fixtures;
use tcc_core::checkpoint::{GridRow, OpenOptions, Tensor, open};

/// A fixture in a directory of its own, whose largest file of weights is to be damaged.
struct Victim {
    folder: tempfile::TempDir,
    /// What `open` is given.
    root: PathBuf,
    file: PathBuf,
    bytes: Vec<u8>,
}

impl Victim {
    fn new(path: &Path) -> Victim {
        let folder = tempfile::tempdir().unwrap();
        let parent =
            if path.is_dir() || path.parent() != Some(&fixtures::directory()) { parent_of(path) } else { None };
        let mut files = vec![path.to_path_buf()];
        if let Some(parent) = &parent {
            files = std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).collect();
        }
        for file in &files {
            std::fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let weights = |file: &&PathBuf| file.extension().is_none_or(|extension| extension != "json");
        let file = folder.path().join(files.iter().filter(weights).min().unwrap().file_name().unwrap());
        let root = if path.is_dir() { folder.path().to_path_buf() } else { file.clone() };
        let bytes = std::fs::read(&file).unwrap();
        Victim { folder, root, file, bytes }
    }

    /// Opens the fixture with other bytes in place of its file, and reads everything where that works.
    fn open_with(&self, bytes: &[u8]) -> Result<(), String> {
        // A new file each time: some file systems flush a file that is emptied and written again.
        std::fs::remove_file(&self.file).unwrap();
        std::fs::write(&self.file, bytes).unwrap();
        let outcome = open(&self.root, &OpenOptions::default())
            .and_then(|checkpoint| checkpoint.tensors.values().try_for_each(read_all));
        let error = match outcome {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        };
        assert!(!error.contains('\n') && !error.is_empty() && error.len() < 2000, "{error}");
        Err(error)
    }

    fn names_the_file(&self, error: &str) -> bool {
        error.contains(&self.folder.path().display().to_string())
    }
}

/// The directory that a fixture consists of.
fn parent_of(path: &Path) -> Option<PathBuf> {
    if path.is_dir() { Some(path.to_path_buf()) } else { path.parent().map(Path::to_path_buf) }
}

fn read_all(tensor: &Tensor) -> tcc_core::checkpoint::Result<()> {
    let mut row = vec![0.0; tensor.cols()];
    (0..tensor.rows()).try_for_each(|at| tensor.read_row(at, &mut row))?;
    let mut numbers = GridRow::default();
    match tensor.grid() {
        Some(_) => (0..tensor.rows()).try_for_each(|at| tensor.read_row_grid(at, &mut numbers)),
        None => Ok(()),
    }
}

fn victims() -> Vec<(String, Victim)> {
    fixtures::all().into_iter().map(|(name, fixture)| (name, Victim::new(&fixture.path))).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

#[test]
fn a_truncated_file_is_an_error_that_names_it() {
    for (name, victim) in victims() {
        victim.open_with(&victim.bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let len = victim.bytes.len();
        let lengths = (0..64).chain((64..len).step_by(len / 64)).chain([len - 64, len - 1]);
        for keep in lengths {
            match victim.open_with(&victim.bytes[..keep]) {
                Err(error) => assert!(victim.names_the_file(&error), "{name}: {error}"),
                // GGUF pads the last tensor; that padding may be missing.
                Ok(()) => assert!(name.starts_with("gguf") && len - keep < 32, "{name}: {keep} of {len} bytes"),
            }
        }
    }
}

#[test]
fn a_file_that_goes_on_after_its_end_does_no_harm() {
    for (name, victim) in victims() {
        let mut longer = victim.bytes.clone();
        longer.extend([0x5a; 100]);
        if let Err(error) = victim.open_with(&longer) {
            assert!(victim.names_the_file(&error), "{name}: {error}");
        }
    }
}

#[test]
fn flipped_bits_are_errors_or_do_no_harm() {
    let mut random = Random(1);
    for (name, victim) in victims() {
        let mut noticed = 0;
        for round in 0..200 {
            let mut bytes = victim.bytes.clone();
            // Headers are at the beginning, zip's directory and legacy pickles' list at the end.
            let at = match round % 3 {
                0 => random.below(bytes.len()),
                1 => random.below(bytes.len().min(64)),
                _ => bytes.len() - 1 - random.below(bytes.len().min(2048)),
            };
            bytes[at] ^= 1 << random.below(8);
            if let Err(error) = victim.open_with(&bytes) {
                assert!(victim.names_the_file(&error), "{name}: {error}");
                noticed += 1;
            }
        }
        assert!(noticed > 0, "{name}");
    }
}

#[test]
fn absurd_numbers_are_errors_or_do_no_harm() {
    const ABSURD: [u64; 9] = [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];
    let mut random = Random(2);
    for (_, victim) in victims() {
        for round in 0..200 {
            let mut bytes = victim.bytes.clone();
            let width = [1, 2, 4, 8][random.below(4)];
            let reach = if round % 2 == 0 { bytes.len().min(1024) } else { bytes.len() };
            let at = random.below(reach - width);
            let value = ABSURD[random.below(ABSURD.len())].to_le_bytes();
            bytes[at..at + width].copy_from_slice(&value[..width]);
            drop(victim.open_with(&bytes));
        }
    }
}

#[test]
fn any_opcode_in_any_place_of_a_pickle_does_no_harm() {
    const OPCODES: &[u8] = b".(012NJKMGXUTCB)]}tlaedsucRbqrhjQ\x80\x81\x85\x86\x87\x88\x8a\x8c\x8f\x93\x94\x95";
    let mut random = Random(3);
    for (name, victim) in victims() {
        if name != "bin-legacy" && name != "tinyllamas" && name != "torchchat" {
            continue;
        }
        for _ in 0..800 {
            let mut bytes = victim.bytes.clone();
            let at = random.below(bytes.len().min(3000));
            bytes[at] = OPCODES[random.below(OPCODES.len())];
            drop(victim.open_with(&bytes));
        }
    }
}

#[test]
fn files_of_no_format_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"Once upon a time there was a checkpoint that was none."),
        ("json", b"{\"dim\": 64}"),
        ("zeros", &[0; 4096]),
        ("zip", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("elf", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path, &OpenOptions::default()).expect_err(name).to_string();
        assert!(error.starts_with(&path.display().to_string()) && !error.contains('\n'), "{error}");
    }
    let error = open(folder.path(), &OpenOptions::default()).expect_err("a directory of nothing").to_string();
    assert!(error.contains("config.json"), "{error}");
    let error = open(&folder.path().join("absent"), &OpenOptions::default()).expect_err("absent").to_string();
    assert!(error.contains("absent"), "{error}");
}
