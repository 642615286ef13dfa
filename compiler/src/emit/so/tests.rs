use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tc_kernels::abi::BLOCK_ROWS;
use tc_kernels::cut;
use tc_kernels::table::PORTION_BYTES;
use tcrt::program::verify::Op;
use tcrt::{BatchToken, Engine, EngineOptions, Model};

use super::*;
use crate::config::ModelConfig;
use crate::emit::{Constants, pte};
use crate::export::compile;
use crate::lower::{ModelShape, lower};
use crate::program::CacheShape;
use crate::recipe::Recipe;
use crate::testing::{tiny_config, tiny_tensors};

fn host() -> Options {
    Options { target: tc_targets::host().unwrap(), separate_weights: false }
}

fn with_tiny<T>(recipe: &str, use_it: impl FnOnce(&Artifact) -> T) -> T {
    with(tiny_config(), recipe, use_it)
}

/// Heads of whole blocks, so that queries, keys and values may be made by heads, and SwiGLU of whole groups.
fn with_whole_heads<T>(recipe: &str, use_it: impl FnOnce(&Artifact) -> T) -> T {
    with(ModelConfig { dim: 96, heads: 6, kv_heads: 3, head_dim: 16, ffn: 96, ..tiny_config() }, recipe, use_it)
}

fn with<T>(config: ModelConfig, recipe: &str, use_it: impl FnOnce(&Artifact) -> T) -> T {
    let recipe = Recipe::from_json(recipe).unwrap();
    let compiled = compile(&config, &tiny_tensors(&config), &recipe, &mut |_, _| {}).unwrap();
    with_program(&config, &compiled.program, use_it)
}

/// Elementwise instructions that no pass has fused, over tokens and over rows, of a width that no vector divides.
fn with_chain<T>(use_it: impl FnOnce(&Artifact) -> T) -> T {
    let text = "graph @chain(n: tokens <= 16, m: rows <= 16) {
        %0: f32[n, 43] = embed @embed: f32[50, 43]
        %1: f32[n, 43] = scale %0 {factor = 3.0}
        %2: f32[n, 43] = silu %1
        %3: f32[n, 43] = mul %2, %0
        %4: f32[n, 43] = add %3, %1 {scale = 0.25}
        %5: f32[m, 43] = gather_rows %4
        %6: f32[m, 50] = linear %5, @embed: f32[50, 43]
        %7: f32[m, 50] = scale %6 {factor = 0.125}
        output %7
    }";
    with_graph(text, 43, use_it)
}

fn with_graph<T>(text: &str, dim: usize, use_it: impl FnOnce(&Artifact) -> T) -> T {
    let config = ModelConfig { dim, ..tiny_config() };
    let cache = CacheShape { layers: 2, kv_heads: 2, head_dim: 10 };
    let shape = ModelShape { vocab: 50, max_positions: 128, cache };
    with_program(&config, &lower(&tc_ir::parse(text).unwrap(), shape).unwrap(), use_it)
}

fn with_program<T>(config: &ModelConfig, program: &crate::program::Program, use_it: impl FnOnce(&Artifact) -> T) -> T {
    use_it(&Artifact {
        program,
        constants: &Constants::new(config, &tiny_tensors(config)),
        metadata: vec![("name".to_string(), "tiny".to_string())],
        stop_tokens: vec![2, 7],
        tokenizer: b"a tokenizer".to_vec(),
        chat: Vec::new(),
    })
}

fn go_on(_done: u64, _total: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Logits after every token.
fn logits(path: &Path, threads: usize) -> Vec<Vec<f32>> {
    run(path, threads, |engine, batch| {
        let logits = engine.forward(batch).unwrap();
        (0..logits.rows()).map(|row| logits.row(row).to_vec()).collect()
    })
}

/// Hidden states after every token.
fn hidden_states(path: &Path, threads: usize) -> Vec<Vec<f32>> {
    run(path, threads, |engine, batch| {
        engine.forward_with_hidden(batch).unwrap();
        let state = |row| {
            let mut state = vec![0.0; engine.model().info().hidden];
            engine.add_hidden(row, &mut state).unwrap();
            state
        };
        (0..batch.len()).map(state).collect()
    })
}

/// Some tokens in one call, some one by one.
fn run(
    path: &Path,
    threads: usize,
    mut call: impl FnMut(&mut Engine, &[BatchToken]) -> Vec<Vec<f32>>,
) -> Vec<Vec<f32>> {
    let model = Model::load(path).unwrap();
    let options = EngineOptions { threads, max_rows: 32, ..EngineOptions::default() };
    let mut engine = Engine::new(Arc::clone(&model), &options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    let tokens: Vec<u32> = (0..40).map(|i| (i * 17 + 3) % 50).collect();
    let mut rows = Vec::new();
    for part in [&tokens[..9], &tokens[9..10], &tokens[10..30]].into_iter().chain(tokens[30..].chunks(1)) {
        let batch: Vec<BatchToken> =
            part.iter().map(|token| BatchToken { sequence, token: *token, want_logits: true }).collect();
        rows.extend(call(&mut engine, &batch));
    }
    rows
}

const RECIPES: [&str; 4] = [
    "{}",
    r#"{"linear:int4": {"groupsize": 64}}"#,
    r#"{"linear:int8": {}, "embedding": {"bitwidth": 4}}"#,
    // Gate and up of two types stay apart, and so do silu and mul.
    r#"{"linear:int4": {"groupsize": 32}, "overrides": [{"layers": "layers.*.up", "linear:int8": {}}]}"#,
];

#[test]
fn both_encodings_compute_the_same() {
    let check = |artifact: &Artifact| {
        let directory = tempfile::tempdir().unwrap();
        let (program, native) = (directory.path().join("tiny.pte"), directory.path().join("tiny.so"));
        pte::write(&program, artifact, &go_on).unwrap();
        let written = write(&native, artifact, host(), &go_on).unwrap();
        assert_eq!(written.file_bytes, std::fs::metadata(&native).unwrap().len());
        // Three heads divide evenly among one and three threads.
        for threads in [1, 2, 3] {
            assert_eq!(logits(&native, threads), logits(&program, threads), "{threads} threads");
        }
        assert_eq!(Model::load(&native).unwrap().info().hidden, Model::load(&program).unwrap().info().hidden);
    };
    for recipe in RECIPES {
        with_tiny(recipe, check);
        with_whole_heads(recipe, check);
    }
    with_chain(check);
}

#[test]
fn a_long_context_is_cut_where_heads_leave_threads_idle() {
    let config =
        ModelConfig { dim: 96, heads: 6, kv_heads: 3, head_dim: 16, ffn: 96, max_positions: 700, ..tiny_config() };
    with(config, RECIPES[1], |artifact| {
        let directory = tempfile::tempdir().unwrap();
        let (program, native) = (directory.path().join("tiny.pte"), directory.path().join("tiny.so"));
        pte::write(&program, artifact, &go_on).unwrap();
        write(&native, artifact, host(), &go_on).unwrap();
        let arena = |path: &Path, threads: usize| {
            let options = EngineOptions { threads, ..EngineOptions::default() };
            tcrt::memory_plan(&Model::load(path).unwrap(), &options).unwrap().arena_bytes as usize
        };
        let whole = long(&program, 3);
        for path in [&program, &native] {
            assert_eq!(arena(path, 2) - arena(path, 3).next_multiple_of(64), cut::bytes(6, 3, 16, 700));
            assert_eq!((arena(path, 1), arena(path, 2)), (arena(path, 3), arena(path, 5)));
            for threads in [2, 5] {
                let far = long(path, threads).iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-4, "{}, {threads} threads: {far}", path.display());
            }
        }
    });
}

/// Logits of three tokens, one after the other, after a context of more than two segments.
fn long(path: &Path, threads: usize) -> Vec<f32> {
    let options = EngineOptions { threads, chunk: 600, ..EngineOptions::default() };
    let mut engine = Engine::new(Model::load(path).unwrap(), &options).unwrap();
    let sequence = engine.add_sequence().unwrap();
    let token = |i: u32, want_logits: bool| BatchToken { sequence, token: (i * 17 + 3) % 50, want_logits };
    let mut next = |batch: &[BatchToken]| engine.forward(batch).unwrap().into_last().map(|logits| logits.to_vec());
    next(&(0..520).map(|i| token(i, false)).collect::<Vec<_>>());
    (520..523).flat_map(|i| next(&[token(i, true)]).unwrap()).collect()
}

#[test]
fn the_head_makes_logits_of_hidden_states() {
    let config = tiny_config();
    let tensors = tiny_tensors(&config);
    for recipe in RECIPES {
        with_tiny(recipe, |artifact| {
            let directory = tempfile::tempdir().unwrap();
            let (program, native) = (directory.path().join("tiny.pte"), directory.path().join("tiny.so"));
            pte::write(&program, artifact, &go_on).unwrap();
            write(&native, artifact, host(), &go_on).unwrap();
            let states = hidden_states(&program, 1);
            assert_eq!(states, hidden_states(&native, 2));
            if recipe != "{}" {
                return;
            }
            for (state, logits) in states.iter().zip(logits(&program, 1)) {
                for (row, logit) in logits.iter().enumerate() {
                    let mut weights = vec![0.0; config.dim];
                    tensors["embed"].read_row(row, &mut weights).unwrap();
                    let product: f32 = weights.iter().zip(state).map(|(a, b)| a * b).sum();
                    assert!((product - logit).abs() < 1e-4, "{product}, not {logit}");
                }
            }
        });
    }
}

#[test]
fn a_call_leaves_hidden_states_only_where_asked() {
    with_tiny("{}", |artifact| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tiny.pte");
        pte::write(&path, artifact, &go_on).unwrap();
        let mut engine = Engine::new(Model::load(&path).unwrap(), &EngineOptions::default()).unwrap();
        let sequence = engine.add_sequence().unwrap();
        let batch = [BatchToken { sequence, token: 1, want_logits: true }];
        engine.forward_with_hidden(&batch).unwrap();
        engine.add_hidden(0, &mut [0.0; 40]).unwrap();
        assert!(engine.add_hidden(1, &mut [0.0; 40]).is_err());
        assert!(engine.add_hidden(0, &mut [0.0; 41]).is_err());
        engine.forward(&batch).unwrap();
        assert!(engine.add_hidden(0, &mut [0.0; 40]).is_err());
    });
}

/// What the code of a chain is: `tests/native/chain.NAME.txt`, which `TCC_BLESS=1` writes anew.
#[test]
fn a_chain_is_one_loop_without_stores_between() {
    let text = "graph @chain(n: tokens <= 16, m: rows <= 16) {
        %0: f32[n, 37] = embed @embed: f32[50, 37]
        %1: f32[n, 37] = scale %0 {factor = 3.0}
        %2: f32[n, 37] = mul %1, %0
        %3: f32[n, 37] = add %2, %1 {scale = 0.25}
        %4: f32[m, 37] = gather_rows %3
        %5: f32[m, 50] = linear %4, @embed: f32[50, 37]
        output %5
    }";
    let directory = tempfile::tempdir().unwrap();
    for name in ["x86_64-linux", "aarch64-linux"] {
        let path = directory.path().join(name);
        let options = Options { target: target(name), separate_weights: false };
        with_graph(text, 37, |artifact| write(&path, artifact, options, &go_on).map(drop)).unwrap();
        let text = crate::inspect::disassembly(&path).unwrap();
        let chain = text.lines().skip_while(|line| !line.contains("; run_one.1."));
        let found: String = chain.take_while(|line| !line.contains("; run_one.4.")).map(without_addresses).collect();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/native/chain.{name}.txt"));
        if std::env::var_os("TCC_BLESS").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&golden).unwrap(), "{name}: TCC_BLESS=1 accepts it");
    }
}

/// A line of the disassembly without what other code moves: where it is, and long offsets.
fn without_addresses(line: &str) -> String {
    if line.contains(';') {
        return format!("{}\n", line.trim());
    }
    let mut words = line.get(10..).unwrap_or_default().split("0x");
    let mut text = words.next().unwrap_or_default().to_string();
    for word in words {
        let digits = word.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(word.len());
        let (number, rest) = word.split_at(digits);
        text += &if number.len() < 3 { format!("0x{word}") } else { format!("…{rest}") };
    }
    text + "\n"
}

#[test]
fn only_what_others_read_is_stored() {
    with_chain(|artifact| {
        let verified = verified(artifact).unwrap();
        let pieces = inline::pieces(artifact.program, verified.ops(), &[1, 2, 3, 4, 5, 6, 7]);
        let inline::Piece::Loop(chain) = &pieces[0] else { panic!("{pieces:?}") };
        assert_eq!((chain.instructions.as_slice(), chain.stored.len()), ([1, 2, 3, 4].as_slice(), 1));
        assert!(matches!(&pieces[1..], [inline::Piece::Kernel(5), inline::Piece::Kernel(6), inline::Piece::Loop(_)]));
        // Rows of another kind are a loop of their own.
        assert_eq!(inline::pieces(artifact.program, verified.ops(), &[4, 7]).len(), 2);
    });
}

fn target(name: &str) -> &'static Target {
    tc_targets::find(name).unwrap()
}

fn written(directory: &Path, name: &str, options: Options, recipe: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    with_tiny(recipe, |artifact| write(&path, artifact, options, &go_on).map(drop)).unwrap();
    path
}

/// Runs a tool that may not be there; what is skipped is said.
fn tool(name: &str, arguments: &[&std::ffi::OsStr]) -> Option<std::process::Output> {
    let output = std::process::Command::new(name).args(arguments).output();
    if output.is_err() {
        eprintln!("skipped: no {name} on this machine");
    }
    output.ok()
}

#[test]
fn weights_beside_are_those_inside() {
    let directory = tempfile::tempdir().unwrap();
    let inside = written(directory.path(), "inside.so", host(), RECIPES[1]);
    let beside = written(directory.path(), "beside.so", Options { separate_weights: true, ..host() }, RECIPES[1]);
    assert_eq!(logits(&beside, 2), logits(&inside, 2));
    assert!(directory.path().join("beside.weights").exists());
    // The same weights serve another artifact; weights of another export are refused.
    written(directory.path(), "other.so", Options { separate_weights: true, ..host() }, RECIPES[2]);
    std::fs::copy(directory.path().join("other.weights"), directory.path().join("beside.weights")).unwrap();
    let message = Model::load(&beside).err().unwrap().to_string();
    assert!(message.contains("weights of another export"), "{message}");
    std::fs::remove_file(directory.path().join("beside.weights")).unwrap();
    let message = Model::load(&beside).err().unwrap().to_string();
    assert!(message.contains("beside.weights") && !message.contains('\n'), "{message}");
}

#[test]
fn damaged_and_foreign_artifacts_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = tc_targets::ALL.iter().copied().find(|target| Some(*target) != tc_targets::host()).unwrap();
    let foreign = written(directory.path(), "foreign.so", Options { target: foreign, ..host() }, RECIPES[0]);
    let message = Model::load(&foreign).err().unwrap().to_string();
    assert!(message.contains("made for"), "{message}");
    let whole = std::fs::read(written(directory.path(), "whole.so", host(), RECIPES[0])).unwrap();
    let cut = directory.path().join("cut.so");
    for keep in [10, 64, 600, 20_000, whole.len() / 2, whole.len() - 1] {
        let _ = std::fs::remove_file(&cut);
        std::fs::write(&cut, &whole[..keep]).unwrap();
        let message = Model::load(&cut).err().unwrap().to_string();
        assert!(message.contains("truncated") && message.contains("cut.so"), "{keep}: {message}");
    }
}

#[test]
fn a_cancelled_export_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for separate_weights in [false, true] {
        let options = Options { separate_weights, ..host() };
        let path = directory.path().join("tiny.so");
        let cancelled = with_tiny("{}", |artifact| write(&path, artifact, options, &|_, _| ControlFlow::Break(())));
        assert!(matches!(cancelled, Err(EmitError::Cancelled)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

/// A sparse file stands for weights that no 32-bit offset reaches.
#[test]
fn weights_larger_than_4_gib_load_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.so");
    let size = 5u64 << 30;
    let file =
        with_tiny("{}", |artifact| build(artifact, &verified(artifact).unwrap(), host().target, &Place::Inside, size));
    let file = file.unwrap();
    std::fs::write(&path, &file.bytes).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(file.weights + size).unwrap();
    let model = Model::load(&path).unwrap();
    assert!(model.info().load_time.as_millis() < 500, "{:?}", model.info().load_time);
    assert_eq!(model.info().file_bytes, file.weights + size);
}

#[test]
fn other_programs_accept_the_files() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["x86_64-linux", "aarch64-linux"] {
        let options = Options { target: target(name), separate_weights: false };
        let path = written(directory.path(), &format!("{name}.so"), options, RECIPES[1]);
        if let Some(output) = tool("readelf", &["-aW".as_ref(), path.as_os_str()]) {
            let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && errors.is_empty(), "{name}: {errors}");
            assert!(!text.contains("NEEDED") && !text.contains("TEXTREL") && !text.contains(" RWE "), "{text}");
            assert!(
                text.contains("Build ID: ") && text.contains("GNU_RELRO") && text.contains("GNU_EH_FRAME"),
                "{text}"
            );
            let relocations = text.lines().filter(|line| line.contains("R_X86_64_") || line.contains("R_AARCH64_"));
            assert!(
                relocations.clone().count() > 10 && relocations.clone().all(|line| line.contains("_RELATIV")),
                "{text}"
            );
        }
        if let Some(output) = tool("eu-elflint", &["--gnu-ld".as_ref(), path.as_os_str()]) {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // It knows no owners of notes but its own.
            let ours = |line: &&str| line.trim().is_empty() || line.contains("owner name 'TCRT'");
            assert!(text.lines().all(|line| ours(&line) || line == "No errors"), "{name}: {text}");
        }
        let disassembler = if Some(options.target) == tc_targets::host() { "objdump" } else { "llvm-objdump" };
        if let Some(output) = tool(disassembler, &["-d".as_ref(), path.as_os_str()]) {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("tcrt_model_run_one"), "{name}: {text}");
            assert!(text.contains("linear_q8 layers.0.q+k+v"), "{name}");
        }
        let ours = crate::inspect::disassembly(&path).unwrap();
        assert!(ours.contains("; run_one.") && ours.contains("ret"), "{name}: {ours}");
    }
}

/// `trace.c` as a program.
fn tracer(directory: &Path, compiler: &str, more: &[&str]) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = directory.join(format!("trace-{compiler}{}", more.concat()));
    let include = root.join("../runtime/include");
    let source = root.join("tests/native/trace.c");
    let flags = ["-std=c11", "-Wall", "-Werror", "-O1"].iter().chain(more).map(std::ffi::OsStr::new);
    let files =
        [source.as_os_str(), "-I".as_ref(), include.as_os_str(), "-ldl".as_ref(), "-o".as_ref(), program.as_os_str()];
    let compiled = tool(compiler, &flags.chain(files).collect::<Vec<_>>())?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some(program)
}

/// Every call of a kernel, as `trace.c` prints them.
fn trace(directory: &Path, compiler: &str, runner: &[&str], artifact: &Path) -> Option<String> {
    let program = tracer(directory, compiler, &[])?;
    let command: Vec<&std::ffi::OsStr> =
        runner.iter().map(std::ffi::OsStr::new).chain([program.as_os_str(), artifact.as_os_str()]).collect();
    let (first, rest) = command.split_first()?;
    let output = tool(first.to_str()?, rest)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An artifact needs no library, so any C library's loader can load it. A static program of musl's has none, and says so.
#[cfg(target_arch = "x86_64")]
#[test]
fn an_artifact_runs_in_a_program_of_another_c_library() {
    let directory = tempfile::tempdir().unwrap();
    with_whole_heads(RECIPES[1], |artifact| {
        let path = directory.path().join("model.so");
        write(&path, artifact, Options { target: target("x86_64-linux"), separate_weights: false }, &go_on).unwrap();
        let Some(musl) = trace(directory.path(), "musl-gcc", &[], &path) else { return };
        assert_eq!(musl, trace(directory.path(), "cc", &[], &path).unwrap());
        let program = tracer(directory.path(), "musl-gcc", &["-static"]).unwrap();
        let output = tool(program.to_str().unwrap(), &[path.as_os_str()]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("Dynamic loading not supported"), "{said}");
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn code_for_aarch64_makes_the_calls_and_numbers_of_code_for_x86_64() {
    let directory = tempfile::tempdir().unwrap();
    let check = |artifact: &Artifact| {
        let make = |name: &str| {
            let path = directory.path().join(name);
            let options = Options { target: target(name), separate_weights: false };
            write(&path, artifact, options, &go_on).map(drop).unwrap();
            path
        };
        let ours = trace(directory.path(), "cc", &[], &make("x86_64-linux")).unwrap();
        let emulator = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];
        if let Some(theirs) = trace(directory.path(), "aarch64-linux-gnu-gcc", &emulator, &make("aarch64-linux")) {
            assert_eq!(theirs, ours);
        }
        ours
    };
    let mut few_rows = 0;
    for recipe in RECIPES {
        let ours = with_whole_heads(recipe, check);
        assert!(ours.lines().filter(|line| line.starts_with("attention")).count() >= 2 * 2 * 3, "{ours}");
        few_rows += check_swiglu_tasks(&ours);
        // One and three threads get whole heads and make their rows; for two, both layers' contexts are cut where the call says so.
        let count = |what: &str| ours.lines().filter(|line| line.starts_with(what)).count();
        assert_eq!(count("attention_segments"), 2 * 9, "{ours}");
        let by_heads = ours
            .lines()
            .zip(ours.lines().skip(1))
            .filter(|(line, next)| line.starts_with("linear") && next.starts_with("rope_kv"));
        assert_eq!(by_heads.count(), 2 * 2 * (1 + 3), "{ours}");
    }
    assert!(few_rows > 0);
    assert!(!with_chain(check).contains("silu"));
}

/// In a trace's calls of many tokens, SwiGLU of the first of two layers is over tokens, that of the last over rows. Returns how many
/// of the calls that have it ask for fewer rows than tokens.
fn check_swiglu_tasks(trace: &str) -> usize {
    let counts = |line: &str| -> [u32; 2] {
        let numbers: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).take(2).collect();
        numbers.try_into().unwrap()
    };
    let check = |call: &str| {
        let mut lines = call.lines();
        let [n, rows] = counts(lines.next().unwrap());
        let tasks: Vec<u32> = lines.filter(|line| line.starts_with("swiglu")).map(counts).map(|[a, b]| b - a).collect();
        if n > 1 && !tasks.is_empty() {
            assert_eq!(tasks.iter().sum::<u32>(), n + rows, "call {call}");
            return rows < n;
        }
        false
    };
    trace.split("call ").skip(1).filter(|call| check(call)).count()
}

#[test]
fn one_token_needs_few_barriers() {
    with_tiny(RECIPES[1], |artifact| {
        let schedule = schedule::one_token(artifact.program, verified(artifact).unwrap().ops());
        // Embedding and angles; in each of two layers qkv, attention, its output, gate and up, down; the head.
        assert_eq!(schedule.phases.len(), 1 + 2 * 5 + 1, "{:#?}", schedule.phases);
        assert_eq!(schedule.phases[0].steps.len(), 2);
        assert!(schedule.phases[2].steps[0].chain.len() == 2);
    });
}

/// Gate and up are two spans of two blocks a task, and each is a stream.
#[test]
fn a_portion_is_worth_its_while_in_each_span() {
    with_whole_heads(RECIPES[1], |artifact| {
        let verified = verified(artifact).unwrap();
        let schedule = schedule::one_token(artifact.program, verified.ops());
        let step = &schedule.phases[4].steps[0];
        let Op::Linear { w, .. } = verified.ops()[step.chain[0].at] else { panic!("no matmul") };
        let gate_and_up = &verified.program().weights[w];
        let block = gate_and_up.size as usize / gate_and_up.rows.div_ceil(BLOCK_ROWS as u32) as usize;
        let portion = state::portion(step, verified.program(), verified.ops());
        assert_eq!((portion.tasks, portion.least as usize), (3, PORTION_BYTES / (2 * block)));
    });
}

#[test]
fn swiglu_goes_with_its_matmul_where_groups_are_whole() {
    with_whole_heads(RECIPES[1], |artifact| {
        let schedule = schedule::one_token(artifact.program, verified(artifact).unwrap().ops());
        assert_eq!(schedule.phases.len(), 1 + 2 * 5 + 1, "{:#?}", schedule.phases);
        // Of the first layer, over tokens, and of the last, over rows.
        for phase in [4, 9] {
            let step = &schedule.phases[phase].steps[0];
            assert_eq!(
                step.chain.iter().map(|part| part.kernel).collect::<Vec<_>>(),
                ["linear_q8_one", "swiglu_q8_groups"]
            );
            assert_eq!(step.tasks, 3);
            assert!(schedule.phases[phase + 1].prologue.is_empty());
        }
    });
}
