//! Kernels and runtime on aarch64, run by an emulator: their own tests, and every golden through `tcrt` in both encodings.
//!
//! `TCC_AARCH64_RUSTC` names a Rust compiler that has aarch64's standard library (tests/aarch64/toolchain.sh gets one).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tc_tests::golden::{self, Golden, Sequence};

use crate::artifact::golden_export;
use crate::calls::{difference, furthest};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Links for aarch64, and has its C library.
const LINKER: &str = "aarch64-linux-gnu-gcc";

/// What one recipe's logits may differ by from the golden's: the most, and in relation to them.
const RECIPES: [(&str, f32, f32); 4] = [
    ("{}", 2e-4, 1e-4),
    (r#"{"linear:int8": {"groupsize": 32}}"#, f32::INFINITY, 0.1),
    (r#"{"linear:int8": {"groupsize": 32}, "activations": {"dtype": "int16"}}"#, f32::INFINITY, 0.1),
    (r#"{"linear:int4": {"groupsize": 32}, "precision": {"dtype": "f16"}}"#, f32::INFINITY, 0.7),
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn emulator() -> PathBuf {
    workspace().join("tests/aarch64/emulate.sh")
}

/// Cargo for aarch64, where this machine has all that it takes; what is missing is said.
fn cargo(command: &str) -> Option<Command> {
    let Some(rustc) = std::env::var_os("TCC_AARCH64_RUSTC") else {
        println!("skipped: TCC_AARCH64_RUSTC is not set (see tests/aarch64/toolchain.sh)");
        return None;
    };
    for tool in ["qemu-aarch64-static", LINKER] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: {tool} (Debian: qemu-user-static, gcc-aarch64-linux-gnu) is not installed");
            return None;
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    let target = workspace().join("target/aarch64/build");
    cargo.current_dir(workspace()).args([command, "--release", "--target", TARGET, "--target-dir"]).arg(target);
    cargo.env("RUSTC", rustc).env("CC", LINKER);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", emulator());
    // Emulated threads that wait for each other take their time from those that work.
    cargo.env("RUST_TEST_THREADS", "1");
    Some(cargo)
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

#[test]
fn kernels_and_runtime_pass_their_own_tests_on_aarch64() {
    let Some(mut cargo) = cargo("test") else { return };
    // Attention has no variant of NEON's own: what would be tested is the reference against itself, for many minutes.
    let skipped = ["--", "--skip", "attention", "--skip", "attends"];
    succeed(cargo.args(["--tests", "--package", "tc-kernels", "--package", "tcrt"]).args(skipped));
}

#[test]
fn both_encodings_give_the_goldens_on_aarch64() {
    let Some(mut cargo) = cargo("build") else { return };
    succeed(cargo.args(["--package", "tcrt-cli"]));
    let names = golden::names().unwrap();
    let check = |names: &[String]| -> Vec<String> {
        let faults = |name: &str| check_golden(name).unwrap_or_else(|error| vec![error.to_string()]);
        names.iter().flat_map(|name| faults(name).into_iter().map(move |fault| format!("{name}: {fault}"))).collect()
    };
    // What is emulated runs on one thread, mostly.
    let faults: Vec<String> = std::thread::scope(|scope| {
        let halves = names.chunks(names.len().div_ceil(2)).map(|half| scope.spawn(|| check(half)));
        halves.collect::<Vec<_>>().into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn check_golden(name: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let (golden, folder, mut faults) = (Golden::load(name)?, tempfile::tempdir()?, Vec::new());
    let (program, native) = (folder.path().join("model.pte"), folder.path().join("model.so"));
    for (recipe, most, relative) in RECIPES {
        golden_export(&golden, recipe, None, &program)?;
        golden_export(&golden, recipe, tc_targets::find("aarch64-linux"), &native)?;
        // Two threads take a whole prompt, one its tokens one by one.
        for (threads, chunk) in [("2", "512"), ("1", "1")] {
            let run = |artifact: &Path| -> Result<Vec<_>, Box<dyn Error>> {
                golden.sequences.iter().map(|sequence| logits(artifact, sequence, threads, chunk)).collect()
            };
            let (expected, found) = (run(&program)?, run(&native)?);
            let far = difference(&golden.sequences, &expected);
            if far.worst > most || far.relative > relative {
                faults.push(format!("{recipe} chunk {chunk}: {far:?}"));
            }
            let apart = furthest(&expected, &found);
            if apart > 1e-5 {
                faults.push(format!("{recipe} chunk {chunk}: the encodings differ by {apart:.1e}"));
            }
        }
    }
    Ok(faults)
}

/// What `tcrt` says of every token of a prompt.
fn logits(model: &Path, prompt: &Sequence, threads: &str, chunk: &str) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let tcrt = workspace().join("target/aarch64/build").join(TARGET).join("release/tcrt");
    let tokens: Vec<String> = prompt.tokens.iter().map(u32::to_string).collect();
    let mut command = Command::new(emulator());
    command.arg(tcrt).arg("logits").arg(model).args(["--all", "--json", "--kv", "f32", "--tokens", &tokens.join(",")]);
    let output = succeed(command.args(["--threads", threads, "--chunk", chunk]));
    let lines = String::from_utf8(output.stdout)?;
    let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).map(|line| line["logits"].clone());
    lines.lines().map(|line| Ok(serde_json::from_value(row(line)?)?)).collect()
}
