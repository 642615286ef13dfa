//! Debuggers and profilers read native artifacts: they name the generated code, and unwind through it.

use std::process::Command;

use super::tools::{available, run, skip};
use super::world;

#[test]
fn gdb_stops_in_an_artifact_and_sees_who_called() {
    let world = world();
    if !available("gdb") {
        return skip("gdb in an artifact: there is no gdb");
    }
    let mut gdb = Command::new("gdb");
    gdb.env_remove("DEBUGINFOD_URLS").args(["-nx", "-batch", "-ex", "set breakpoint pending on"]);
    gdb.args(["-ex", "break tcrt_model_run_one", "-ex", "run", "-ex", "backtrace", "-ex", "x/2i $pc", "--args"]);
    gdb.arg(world.prefix.join("bin/tcrt")).arg("logits").arg(&world.native);
    let output = gdb.args(["--tokens", "1", "--threads", "1"]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if errors.contains("not permitted") || errors.contains("Could not trace") {
        return skip(&format!("gdb in an artifact: {}", errors.lines().last().unwrap_or_default()));
    }
    let frames: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    let callers = frames.get(1..).unwrap_or_default();
    assert!(frames.first().is_some_and(|frame| frame.contains("tcrt_model_run_one")), "{text}{errors}");
    assert!(frames[0].contains("tiny.so") && callers.iter().any(|frame| frame.contains(" main (")), "{text}{errors}");
    assert!(text.contains("<tcrt_model_run_one+"), "{text}{errors}");
}

/// The kernels' samples lie below the tensor ops whose code called them.
#[test]
fn perf_reports_tensor_ops() {
    let world = world();
    let data = world.scratch.join("perf.data");
    let record = |command: &mut Command| {
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--event", "cpu-clock", "--call-graph", "dwarf,4096", "--output"]);
        perf.arg(&data).arg("--").arg(command.get_program()).args(command.get_args()).output()
    };
    match record(&mut Command::new("true")) {
        Err(_) => return skip("perf over an artifact: there is no perf"),
        Ok(output) if !output.status.success() => {
            let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
            return skip(&format!("perf over an artifact: it cannot record here: {why}"));
        }
        Ok(_) => {}
    }
    let mut bench = Command::new(world.prefix.join("bin/tcrt"));
    bench.arg("bench").arg(&world.native).args(["-p", "8", "-n", "100", "-r", "100", "--threads", "1"]);
    assert!(record(&mut bench).unwrap().status.success());
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--no-inline", "--children", "--call-graph", "none", "--sort", "dso,symbol"]);
    let text = run(report.arg("--input").arg(&data));
    let ops = text.lines().filter(|line| line.contains("tiny.so") && line.contains("run_one.")).count();
    assert!(ops >= 3, "{text}");
}
