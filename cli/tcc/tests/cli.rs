//! The command as a shell sees it: exit codes, one line on stderr, nothing half-written.

#[cfg(target_os = "linux")]
use std::io::{BufRead, BufReader, Write};
#[cfg(target_os = "linux")]
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

fn tcc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcc")).args(args).output().unwrap()
}

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    path.to_str().unwrap().to_string()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn exports_and_shows_what_it_made() {
    let directory = tempfile::tempdir().unwrap();
    let pte = directory.path().join("tiny.pte");
    let pte = pte.to_str().unwrap();
    let exported = tcc(&["export", &fixture("hf"), "-o", pte, "--quantize", r#"{"linear:int8": {"groupsize": 32}}"#]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    assert!(stderr(&exported).starts_with("tcc: warning: no tokenizer"), "{}", stderr(&exported));
    let shown = tcc(&["inspect", pte]);
    assert!(shown.status.success() && String::from_utf8(shown.stdout).unwrap().contains("i8g32"));
    let graph = tcc(&["inspect", &fixture("hf"), "--ir=merge-qkv"]);
    assert!(graph.status.success() && String::from_utf8(graph.stdout).unwrap().contains("concat_rows"));
}

#[test]
fn a_random_model_is_written_exported_and_its_tokenizer_converted() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    for args in [
        vec!["synth", "--shape", "tiny", "-o", &at("tiny")],
        vec!["export", &at("tiny"), "-o", &at("tiny.pte"), "--dtype", "f16"],
        vec!["tokenizer", &at("tiny"), "-o", &at("tokenizer.bin")],
    ] {
        let done = tcc(&args);
        assert!(done.status.success(), "{args:?}: {}", stderr(&done));
    }
}

#[test]
fn a_checkpoint_is_evaluated_against_itself() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    assert!(tcc(&["synth", "--shape", "tiny", "-o", &at("tiny")]).status.success());
    std::fs::write(at("text"), "Once upon a time there was a text. ".repeat(8)).unwrap();
    let eval = |more: &[&str]| tcc(&[&["eval", &at("tiny"), "--text", &at("text"), "--ctx", "16"], more].concat());
    let plain = eval(&["--base", &at("tiny")]);
    let text = String::from_utf8(plain.stdout.clone()).unwrap();
    assert!(plain.status.success() && text.contains("same top token    100.00"), "{text} {}", stderr(&plain));
    let json = eval(&["--json", "--limit", "1", "--quantize", r#"{"linear:int4": {}}"#]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["report"]["windows"], 1);
    assert!(json["report"]["perplexity"]["value"].as_f64().unwrap() > 1.0);
    std::fs::write(at("text"), [b'a', 0xff]).unwrap();
    assert!(stderr(&eval(&[])).contains("not UTF-8 from byte 1"));
}

#[test]
fn tasks_are_run_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    assert!(tcc(&["synth", "--shape", "tiny", "-o", &at("tiny")]).status.success());
    let piqa = r#"{"goal": "Go", "sol1": "there", "sol2": "here", "label": 0}"#;
    std::fs::write(at("piqa.jsonl"), format!("{piqa}\n{piqa}\n")).unwrap();
    std::fs::write(at("page.txt"), " = Title = \n Some words . \n").unwrap();
    let list = format!("{},wikitext={}", at("piqa.jsonl"), at("page.txt"));
    let eval = |more: &[&str]| tcc(&[&["eval", &at("tiny"), "--tasks", &list], more].concat());
    let text = String::from_utf8(eval(&[]).stdout).unwrap();
    assert!(text.contains("acc_norm") && text.contains("bits_per_byte"), "{text}");
    let json = eval(&["--json", "--limit", "1", "--samples", &at("samples")]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["tasks"][0]["task"], &json["tasks"][0]["documents"]), (&"piqa".into(), &1.into()));
    assert!(json["tasks"][1]["word_perplexity"].as_f64().unwrap() > 1.0, "{json}");
    assert_eq!(std::fs::read_to_string(at("samples")).unwrap().lines().count(), 2);
    std::fs::write(at("piqa.jsonl"), "{\"goal\": 1}\n").unwrap();
    let error = stderr(&eval(&[]));
    assert!(error.contains("piqa.jsonl: document 1: \"sol1\" is no text"), "{error}");
}

#[test]
fn failures_are_one_line_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let pte = directory.path().join("tiny.pte");
    let pte = pte.to_str().unwrap();
    let hf = fixture("hf");
    for (args, expected) in [
        (vec!["export", "no-such-model", "-o", pte], "no-such-model"),
        (vec!["export", &hf, "-o", "/nowhere/at/all.pte"], "/nowhere/at/all.pte: no such directory"),
        (vec!["export", &hf, "-o", pte, "--quantize", r#"{"linear:int5": {}}"#], "linear:int5"),
        (vec!["export", &hf, "-o", pte, "--print-ir-after", "nothing"], "there is no pass"),
        (vec!["inspect", &fixture("evil.pth")], "evil.pth"),
        (vec!["tokenizer", &fixture("hf"), "-o", pte], "no tokenizer here"),
    ] {
        let failed = tcc(&args);
        let stderr = stderr(&failed);
        assert_eq!(failed.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains(expected) && stderr.trim_end().lines().count() == 1, "{args:?}: {stderr}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn wrong_usage_is_2() {
    for args in [vec![], vec!["export"], vec!["compile"], vec!["synth", "--shape", "gpt-5", "-o", "x"]] {
        assert_eq!(tcc(&args).status.code(), Some(2), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_line() {
    // A limit on the size of files fails as a full disk does.
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} export {} -o {}/tiny.pte",
        env!("CARGO_BIN_EXE_tcc"),
        fixture("hf"),
        directory.path().display()
    );
    let failed = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("tiny.pte: "), "{}", stderr(&failed));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_page_is_opened_once_it_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    assert!(tcc(&["synth", "--shape", "tiny", "-o", &at("tiny")]).status.success());
    // Stands for what opens pages on a desktop.
    std::fs::write(at("xdg-open"), format!("#!/bin/sh\necho \"$1\" > {0}.part && mv {0}.part {0}\n", at("opened")))
        .unwrap();
    std::fs::set_permissions(at("xdg-open"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcc"));
    command.args(["browser", &at("tiny"), "--port", "0"]).env("DISPLAY", ":0").env("TCC_CACHE", at("cache"));
    command.env("PATH", format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap()));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find(|line| line.contains("a page to talk at")).unwrap_or_default();
    let url = said.split(' ').find(|word| word.ends_with('/')).unwrap_or_default().to_owned();
    let page = url.strip_prefix("http://").and_then(|url| first_line(url.trim_end_matches('/')));
    while !url.is_empty() && !directory.path().join("opened").exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(page.as_deref(), Some("HTTP/1.1 200 OK\r\n"), "{said}");
    assert_eq!(std::fs::read_to_string(at("opened")).unwrap().trim_end(), url);
}

/// Of the answer of the server at this address.
#[cfg(target_os = "linux")]
fn first_line(address: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}
