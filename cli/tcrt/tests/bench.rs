//! `tcrt bench` as a shell sees it. What it measures depends on the machine and its neighbours; that it measures does not.

use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcrt")).arg("bench").args(args).output().unwrap()
}

fn fails(args: &[&str], why: &str) {
    let output = bench(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains(why), "{args:?}: {stderr}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    fails(&[], "give a model file, --bandwidth or --kernels");
    fails(&["model.pte", "--batch", "0"], "must be at least 1");
    fails(&["model.pte", "--isa", "sse9"], "must be one of scalar");
    fails(&["model.pte", "--check"], "--kernels");
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn sequences_decode_together_in_any_tier() {
    let artifact = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/artifacts/x86_64-linux-1.0.so");
    for isa in ["scalar", "avx2"] {
        let output = bench(&[artifact, "--batch", "3", "--isa", isa, "-p", "4", "-n", "2", "-r", "1", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["batch"], &json["decode"]), (&3.into(), &2.into()));
        assert!(json["decode_tps"].as_f64().unwrap() > 0.0 && json.get("decode_share").is_none());
    }
    fails(&[artifact, "--kernels"], "give a .pte");
}
