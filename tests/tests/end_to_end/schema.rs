//! What the compiler writes is what `runtime/schema/program.fbs` says: flatc, which knows nothing of us but the schema, reads it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tc_tests::golden::Golden;
use tcrt::program::header::{HEADER_BYTES, Header};

use crate::artifact;

/// The flatbuffer of an artifact as flatc's JSON.
fn decode(file: &[u8], scratch: &Path) -> Value {
    let header = Header::decode(file).unwrap();
    assert!(header.program_offset >= HEADER_BYTES as u64);
    let (begin, size) = (header.program_offset as usize, header.program_size as usize);
    std::fs::write(scratch.join("program.bin"), &file[begin..begin + size]).unwrap();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/schema/program.fbs");
    let mut flatc = Command::new("flatc");
    flatc
        .current_dir(scratch)
        .args(["--json", "--strict-json", "--defaults-json"])
        .arg(schema)
        .args(["--", "program.bin"]);
    let output = flatc.output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&std::fs::read(scratch.join("program.json")).unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn flatc_reads_what_the_compiler_writes() {
    if Command::new("flatc").arg("--version").output().is_err() {
        println!("skipped: flatc (Debian: flatbuffers-compiler) is not installed");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let golden = Golden::load("qwen3").unwrap();
    let (model, file) = artifact::golden_file(&golden, r#"{"linear:int4": {"groupsize": 32}}"#).unwrap();
    let json = decode(&file, scratch.path());
    let program = model.program().unwrap();
    assert_eq!(json["vocab"], program.vocab);
    assert_eq!(json["max_positions"], program.max_positions);
    assert_eq!(json["cache"]["head_dim"], program.cache.head_dim);
    assert_eq!(json["weights_segment"]["offset"], program.weights_segment.offset);
    assert_eq!(json["token_arena"], program.token_arena);
    let list = |name: &str| json[name].as_array().unwrap().clone();
    let names: Vec<_> = list("weights").iter().map(|weight| weight["name"].as_str().unwrap().to_string()).collect();
    assert_eq!(names, program.weights.iter().map(|weight| weight.name.clone()).collect::<Vec<_>>());
    for (read, ours) in list("weights").iter().zip(&program.weights) {
        assert_eq!((&read["rows"], &read["offset"]), (&ours.rows.into(), &ours.offset.into()));
    }
    let (instructions, buffers) = (list("instructions"), list("buffers"));
    assert_eq!((instructions.len(), buffers.len()), (program.instructions.len(), program.buffers.len()));
    for (read, ours) in instructions.iter().zip(&program.instructions) {
        assert_eq!((&read["kernel"], &read["barrier"]), (&ours.kernel.into(), &ours.barrier.into()));
        assert_eq!(read["operands"].as_array().unwrap().len(), ours.operands.len());
    }
}
