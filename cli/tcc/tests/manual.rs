//! What is made of the arguments alone: the reference in docs/cli, man pages, completions.

use std::path::{Path, PathBuf};
use std::process::Command;

fn tcc(args: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_tcc")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn manual(form: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    tcc(&["manual", form, folder.path().to_str().unwrap()]);
    folder
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_reference_is_current() {
    let folder = manual("markdown");
    for page in ["tcc.md", "tcrt.md"] {
        let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli").join(page);
        let is_current = read(&kept) == read(&folder.path().join(page));
        assert!(is_current, "docs/cli/{page} is not what the arguments are: run `cargo xtask docs`");
    }
}

#[test]
fn man_pages_say_what_commands_take() {
    let folder = manual("man");
    assert!(read(&folder.path().join("tcc.1")).contains("tcc\\-export(1)"));
    assert!(read(&folder.path().join("tcc-export.1")).contains("\\-\\-quantize"));
    assert!(read(&folder.path().join("tcrt-serve.1")).contains("\\-\\-max\\-concurrency"));
    assert!(!folder.path().join("tcc-manual.1").exists(), "what is hidden has no page");
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let text = String::from_utf8(tcc(&["completions", shell])).unwrap();
        assert!(text.contains("export") && text.contains("max-context"), "{shell}");
        let text = String::from_utf8(tcc(&["completions", shell, "--program", "tcrt"])).unwrap();
        assert!(text.contains("tokenize") && text.contains("max-concurrency"), "{shell}");
    }
    let share = manual("completions");
    let installed = share.path().join("bash-completion/completions/tcrt");
    assert_eq!(read(&installed).into_bytes(), tcc(&["completions", "bash", "--program", "tcrt"]));
    if let Some(offered) = bash_offers(&installed, &["tcrt", "ser"]) {
        assert_eq!(offered.trim(), "serve");
    }
}

/// What bash, where there is one, would complete the last of these words to.
fn bash_offers(script: &Path, words: &[&str]) -> Option<String> {
    let line = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _tcrt tcrt '{}' ''; echo \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1]
    );
    let output = Command::new("bash").args(["--norc", "-c", &line]).output().ok()?;
    Some(String::from_utf8(output.stdout).unwrap())
}
