//! Native artifacts by hand: a C file that knows `tcrt_model.h` alone, compiled by the system's compiler, gives the logits of the
//! program file of the same model; and whatever is wrong with an artifact is one line, not a crash.

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::Random;
use support::toy::{SHAPE, Toy};
use tcrt::native::abi;
use tcrt::{BatchToken, Engine, EngineOptions, ErrorKind, KvType, Model};

/// A directory that is removed when the value goes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tcrt-native-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ID: &[u8; 16] = b"0123456789abcde\0";

/// Compiles the C file, with its weights inside or in `toy.weights` beside it.
fn compile(folder: &Folder, toy: &Toy, inside: bool, flags: &[&str]) -> PathBuf {
    std::fs::write(folder.file("toy_weights.h"), weights_header(toy, inside)).unwrap();
    if !inside {
        std::fs::write(folder.file("toy.weights"), weights_file(toy)).unwrap();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = folder.file("toy.so");
    // A file that is loaded must not be written over.
    let _ = std::fs::remove_file(&output);
    let compiled = Command::new(std::env::var_os("CC").unwrap_or("cc".into()))
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-nostdlib", "-o"])
        .arg(&output)
        .arg(root.join("tests/native/toy_model.c"))
        .arg("-I")
        .arg(root.join("include"))
        .arg("-I")
        .arg(&folder.0)
        .args(flags)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    output
}

fn weights_header(toy: &Toy, inside: bool) -> String {
    let offsets: Vec<String> = toy.builder.program.weights.iter().map(|weight| weight.offset.to_string()).collect();
    let bytes = &toy.builder.weights;
    let mut text = format!("static const uint64_t offsets[] = {{{}}};\n", offsets.join(", "));
    writeln!(text, "#define WEIGHTS_SIZE {}", bytes.len()).unwrap();
    if inside {
        let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
        writeln!(text, "__attribute__((aligned(64))) static const uint8_t weights[] = {{{}}};", bytes.join(","))
            .unwrap();
        text.push_str("#define WEIGHTS weights\n");
    } else {
        text.push_str("#define WEIGHTS 0\n");
    }
    text
}

fn weights_file(toy: &Toy) -> Vec<u8> {
    let weights = &toy.builder.weights;
    let mut file = b"TCRTWGT\0".to_vec();
    file.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend((weights.len() as u64).to_le_bytes());
    file.extend(ID);
    file.resize(16384, 0);
    file.extend(weights);
    file
}

fn logits(model: &Arc<Model>, threads: usize, calls: &[&[u32]]) -> Vec<Vec<f32>> {
    let options = EngineOptions { threads, chunk: 32, max_rows: 32, kv_dtype: KvType::F32, ..EngineOptions::default() };
    let mut engine = Engine::new(Arc::clone(model), &options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    let mut rows = Vec::new();
    for call in calls {
        let batch: Vec<BatchToken> =
            call.iter().map(|token| BatchToken { sequence, token: *token, want_logits: true }).collect();
        let logits = engine.forward(&batch).unwrap();
        rows.extend((0..logits.rows()).map(|row| logits.row(row).to_vec()));
    }
    rows
}

#[test]
fn a_hand_written_artifact_computes_what_the_program_file_does() {
    let mut toy = Toy::new(SHAPE);
    let program = Model::from_bytes(&toy.file(), "toy").unwrap();
    let folder = Folder::new("compute");
    let mut random = Random(3);
    let tokens: Vec<u32> = (0..70).map(|_| random.below(SHAPE.vocab) as u32).collect();
    let mut calls: Vec<&[u32]> = vec![&tokens[..30], &tokens[30..31], &tokens[31..60]];
    calls.extend(tokens[60..].chunks(1));
    for inside in [true, false] {
        let native = Model::load(&compile(&folder, &toy, inside, &[])).unwrap();
        assert!(native.program().is_none());
        assert_eq!(native.stop_tokens(), [2]);
        assert_eq!(native.info().metadata[1], ("writer".to_owned(), "by hand".to_owned()));
        assert_eq!(native.info().weight_bytes, toy.builder.weights.len() as u64);
        assert!(native.tokenizer().unwrap().is_none());
        for threads in [1, 3] {
            assert_eq!(logits(&native, threads, &calls), logits(&program, threads, &calls), "{inside} {threads}");
        }
    }
}

/// Two at a time, which the system must not take for one; a copy of the first after both are gone.
#[cfg(target_os = "linux")]
#[test]
fn artifacts_in_memory_compute_what_those_in_files_do() {
    let (mut random, folder) = (Random(4), Folder::new("memory"));
    let tokens: Vec<u32> = (0..10).map(|_| random.below(SHAPE.vocab) as u32).collect();
    let artifact = |turned| {
        let mut toy = Toy::new(SHAPE);
        toy.builder.weights[..1024].rotate_left(turned);
        let path = compile(&folder, &toy, true, &[]);
        (std::fs::read(&path).unwrap(), logits(&Model::load(&path).unwrap(), 1, &[&tokens]))
    };
    let (one, other) = (artifact(0), artifact(4));
    assert_ne!(one.1, other.1);
    let [first, second] = [&one, &other].map(|(bytes, _)| Model::from_bytes(bytes, "copy").unwrap());
    assert_eq!(logits(&second, 1, &[&tokens]), other.1);
    assert_eq!(logits(&first, 1, &[&tokens]), one.1);
    assert_eq!(first.name(), "copy");
    drop((first, second));
    assert_eq!(logits(&Model::from_bytes(&one.0, "again").unwrap(), 1, &[&tokens]), one.1);
}

fn refusal(path: &Path) -> (ErrorKind, String) {
    let error = Model::load(path).err().unwrap();
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    assert!(message.starts_with(&path.display().to_string()), "{message}");
    (error.kind, message)
}

#[test]
fn files_are_refused_before_they_are_loaded() {
    let toy = Toy::new(SHAPE);
    let folder = Folder::new("refuse");
    let whole = std::fs::read(compile(&folder, &toy, true, &[])).unwrap();
    let path = folder.file("bad.so");
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
        refusal(&path)
    };
    let note = whole.windows(8).position(|window| window == b"TCRT\0\0\0\0").unwrap() + 8;
    let (kind, message) = refused(&|bytes| bytes[note + 2] = 9);
    assert!(kind == ErrorKind::Unsupported && message.contains("ABI 1.9"), "{message}");
    assert!(refused(&|bytes| bytes[note] = 2).1.contains(&format!("ABI 2.{}", abi::MINOR)));
    assert!(refused(&|bytes| bytes[note - 8] = b'X').1.contains("not a model"));
    let (kind, message) = refused(&|bytes| bytes[18] = 8);
    assert!(kind == ErrorKind::Unsupported && message.contains("machine 8"), "{message}");
    assert!(refused(&|bytes| bytes[4] = 1).1.contains("64-bit"));
    assert!(refused(&|bytes| bytes[16] = 2).1.contains("not a shared object"));
    assert!(refused(&|bytes| bytes[54] = 1).1.contains("program headers"));
    assert!(refused(&|bytes| bytes[32..40].fill(0xff)).1.contains("truncated"));
    for keep in [5, 63, 64, 100, 700, 4000, 20_000] {
        assert!(refused(&|bytes| bytes.truncate(keep)).1.contains("truncated"), "{keep}");
    }
    let libc = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = libc.lines().find_map(|line| line.split_whitespace().nth(5).filter(|path| path.contains("libc")));
    assert!(refusal(Path::new(libc.unwrap())).1.contains("not a model"));
    let message = Model::from_bytes(&whole[..700], "copy").err().unwrap().to_string();
    assert!(message.starts_with("copy: ") && message.contains("truncated"), "{message}");
}

#[test]
fn artifacts_that_do_not_fit_this_runtime_are_refused_by_name() {
    let toy = Toy::new(SHAPE);
    let folder = Folder::new("misfit");
    let (kind, message) = refusal(&compile(&folder, &toy, true, &["-DLINEAR=\"linear_x\""]));
    assert!(kind == ErrorKind::Unsupported && message.ends_with("no kernel 'linear_x'"), "{message}");
    let (kind, message) = refusal(&compile(&folder, &toy, true, &["-DLINEAR=\"swiglu\""]));
    assert!(kind == ErrorKind::Unsupported && message.contains("'swiglu': made for 72 bytes"), "{message}");
    assert!(
        refusal(&compile(&folder, &toy, true, &["-Dtcrt_model_descriptor=other"])).1.contains("tcrt_model_descriptor")
    );
}

#[test]
fn weights_must_be_the_artifacts_own() {
    let toy = Toy::new(SHAPE);
    let folder = Folder::new("weights");
    let artifact = compile(&folder, &toy, false, &[]);
    let weights = folder.file("toy.weights");
    let whole = std::fs::read(&weights).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&weights, bytes).unwrap();
        refusal(&artifact).1
    };
    assert!(refused(&|bytes| bytes[24] ^= 1).contains("another export"));
    assert!(refused(&|bytes| bytes[16] ^= 1).contains("another export"));
    assert!(refused(&|bytes| bytes[8] = 7).contains("version 7"));
    assert!(refused(&|bytes| bytes[0] = 0).contains("not a file of weights"));
    assert!(refused(&|bytes| bytes.truncate(bytes.len() - 1)).contains("truncated"));
    assert!(refused(&|bytes| bytes.truncate(10)).contains("not a file of weights"));
    std::fs::write(&weights, &whole).unwrap();
    let error = Model::from_bytes(&std::fs::read(&artifact).unwrap(), "copy").err().unwrap();
    assert!(
        error.kind == ErrorKind::Unsupported && error.to_string().contains("beside it in 'toy.weights'"),
        "{error}"
    );
    std::fs::remove_file(&weights).unwrap();
    let (kind, message) = refusal(&artifact);
    assert!(kind == ErrorKind::Io && message.contains("toy.weights"), "{message}");
}
