//! Models by name, as a shell sees them: listed, fetched, run from the cache, removed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// In a home of its own, which has nothing yet.
fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcc"));
    command.args(args).env("TCC_CACHE", home.join("cache")).env("TCC_CONFIG", home);
    // Nothing listens there: a test must not reach the network.
    let closed = "http://127.0.0.1:1";
    command
        .env("HF_ENDPOINT", closed)
        .env("PIP_INDEX_URL", closed)
        .env("PIP_FIND_LINKS", "")
        .env_remove("PIP_EXTRA_INDEX_URL");
    command
}

fn tcc(home: &Path, args: &[&str]) -> Output {
    command(home, args).output().unwrap()
}

/// With a text on standard input.
fn tcc_told(home: &Path, args: &[&str], input: &str) -> Output {
    let mut child =
        command(home, args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A home whose catalog has a model `mine`.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let checkpoint = home.path().join("tiny");
    assert!(tcc(home.path(), &["synth", "--shape", "tiny", "-o", checkpoint.to_str().unwrap()]).status.success());
    let entry = format!(
        "[[model]]\nalias = \"mine\"\nname = \"Mine\"\nparameters = \"1M\"\nsource = [{{ path = {checkpoint:?} }}]\n"
    );
    std::fs::write(home.path().join("models.toml"), entry).unwrap();
    home
}

fn listed(home: &Path, name: &str) -> Value {
    let rows: Value = serde_json::from_slice(&tcc(home, &["list", "--json"]).stdout).unwrap();
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap()
}

#[test]
fn a_users_model_is_listed_fetched_run_and_removed() {
    let home = home();
    let tcc = |args: &[&str]| tcc(home.path(), args);
    let absent = tcc(&["where", "mine"]);
    assert_eq!((absent.status.code(), stderr(&absent).contains("tcc download mine")), (Some(1), true));
    let table = stdout(&tcc(&["list"]));
    assert!(table.starts_with("NAME") && table.contains("\nmine ") && table.contains("\nllama3.2-1b "), "{table}");

    let generate = ["generate", "mine", "-i", "Once", "-n", "24", "-t", "0", "--num-samples", "2"];
    let first = tcc(&generate);
    assert!(first.status.success() && stderr(&first).contains("exported "), "{}", stderr(&first));
    let again = tcc(&generate);
    assert!(again.status.success() && !stderr(&again).contains("exported "), "{}", stderr(&again));
    assert_eq!(stdout(&first), stdout(&again));
    let samples: Vec<String> = stdout(&first).split("\n\n").map(|text| text.trim().to_string()).collect();
    assert!(samples.len() == 2 && samples[0] == samples[1], "{samples:?}");

    let guessed = tcc(&[&generate[..], &["--lookup"]].concat());
    assert!(stderr(&guessed).contains(" guesses right"), "{}", stderr(&guessed));
    assert_eq!(stdout(&guessed), stdout(&first), "guesses change nothing but the time");

    let formed = tcc(&["generate", "mine", "-i", "Once", "--grammar", "root ::= \"a\"{3} [bc]"]);
    assert!(stdout(&formed).starts_with("aaa") && stdout(&formed).len() == 5, "{}", stderr(&formed));

    let row = listed(home.path(), "mine");
    assert!(row["downloaded"] == true && row["artifact_bytes"].as_u64().unwrap() > 1000, "{row}");
    assert!(stdout(&tcc(&["where", "mine"])).trim().ends_with("/tiny"));
    assert!(tcc(&["remove", "mine"]).status.success());
    assert_eq!(listed(home.path(), "mine")["artifact_bytes"], 0);
    assert!(home.path().join("tiny").exists(), "what the user's catalog points at is not tcc's to delete");
    assert_eq!(tcc(&["remove", "mine"]).status.code(), Some(1));
}

#[test]
fn what_was_exported_from_a_path_is_removed_by_it() {
    let home = home();
    let path = home.path().join("tiny");
    let path = path.to_str().unwrap();
    assert!(tcc(home.path(), &["generate", path, "-i", "Once", "-n", "2"]).status.success());
    let removed = tcc(home.path(), &["remove", path]);
    assert!(stdout(&removed).contains(" of artifacts"), "{}", stderr(&removed));
    assert_eq!(tcc(home.path(), &["remove", path]).status.code(), Some(1));
    assert!(home.path().join("tiny/model.safetensors").exists());
}

#[test]
fn every_name_of_a_model_leads_to_the_same_files() {
    let home = home();
    let catalog = std::fs::read_to_string(home.path().join("models.toml")).unwrap();
    std::fs::write(home.path().join("models.toml"), catalog.replace("name =", "aka = [\"other\"]\nname =")).unwrap();
    let exported =
        |name: &str| stderr(&tcc(home.path(), &["generate", name, "-i", "x", "-n", "2"])).contains("exported ");
    assert_eq!(["mine", "OTHER", "Mine"].map(exported), [true, false, false]);
}

#[test]
fn a_repository_that_gave_nothing_is_not_listed() {
    let home = home();
    assert!(!tcc(home.path(), &["download", "some/model"]).status.success());
    assert!(!stdout(&tcc(home.path(), &["list"])).contains("some/model"));
}

#[test]
fn a_recipe_or_a_form_makes_an_artifact_of_its_own() {
    let home = home();
    let exported = |more: &[&str]| {
        let output = tcc(home.path(), &[&["generate", "mine", "-i", "Once", "-n", "2"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output).contains("exported ")
    };
    let int8 = ["--quantize", r#"{"linear:int8": {"groupsize": 32}}"#];
    let made = [&[][..], &int8, &["--so"], &int8].map(exported);
    assert_eq!(made, [true, true, true, false]);
}

#[test]
fn mistakes_are_one_line() {
    let home = home();
    let cases: [(&[&str], &str); 8] = [
        (&["generate", "mine", "-i", "x", "--grammar", "root ::= y"], "rule y is used and not said"),
        (&["generate", "mine", "-i", "x", "--json-schema", "{\"pattern\": 1}"], "\"pattern\" is not supported"),
        (&["generate", "mine", "-i", "x", "--draft", "no-such-model"], "`tcc list` names them"),
        (&["download", "no-such-model"], "`tcc list` names them"),
        (&["download", "../etc/passwd"], "`tcc list` names them"),
        (&["download", "some/model"], "http://127.0.0.1:1/api/models/some/model"),
        (&["where", "llama3"], "is not here"),
        (&["chat", "/no/such/file.pte"], "/no/such/file.pte: "),
    ];
    for (args, expected) in cases {
        let failed = tcc(home.path(), args);
        let text = stderr(&failed);
        assert_eq!(failed.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains(expected) && text.trim_end().lines().count() == 1, "{args:?}: {text}");
    }
    std::fs::write(home.path().join("models.toml"), "[[model]]\nalias = 3\n").unwrap();
    assert!(stderr(&tcc(home.path(), &["list"])).contains("models.toml: line 2: "));
}

const STORY: &str = "Tell me a story about a fox and a lantern.";

#[test]
fn without_a_network_the_demo_and_the_chat_tell_stories() {
    let home = tempfile::tempdir().unwrap();
    // Nor a Python.
    let demo = command(home.path(), &["demo"]).env("PATH", home.path()).output().unwrap();
    let text = stdout(&demo);
    assert!(demo.status.success(), "{}", stderr(&demo));
    let (why, rest) = text.split_once('\n').unwrap();
    assert!(why.starts_with("smollm2: cannot be fetched: "), "{text}");
    for reason in ["http://127.0.0.1:1/", "python3 does not run"] {
        assert!(why.contains(reason), "each place's own reason: {text}");
    }
    assert!(rest.starts_with("this is stories, which is built in, instead\n"), "{text}");
    assert_eq!(text.matches("lantern").count().min(2), 2, "the question's and the story's: {text}");
    assert!(text.contains("tcc -- chat stories"), "{text}");

    let chat = tcc_told(home.path(), &["chat", "-t", "0"], &format!("{STORY}\n"));
    assert!(chat.status.success(), "{}", stderr(&chat));
    assert!(stdout(&chat).contains("fox") && stdout(&chat).contains("lantern"), "{}", stdout(&chat));
    assert!(stderr(&chat).contains("this is stories, which is built in"), "{}", stderr(&chat));
}

#[test]
fn the_model_that_is_built_in_is_like_any_other() {
    let home = tempfile::tempdir().unwrap();
    let ok = |args: &[&str]| {
        let output = tcc(home.path(), args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    let row = listed(home.path(), "stories");
    assert!(row["built_in"] == true && row["downloaded"] == true && row["checkpoint_bytes"] == 0, "{row}");
    assert!(ok(&["list"]).lines().any(|line| line.starts_with("stories ") && line.contains(" built in ")));
    let place = ok(&["where", "stories"]);
    assert!(std::fs::metadata(place.trim()).unwrap().len() > 1_000_000);
    assert_eq!(ok(&["download", "stories"]), place);
    // One that is damaged, or of another version, is laid down anew.
    std::fs::write(place.trim(), "something else").unwrap();
    assert!(ok(&["inspect", "stories"]).contains("name             Stories"));

    let artifact = home.path().join("stories.pte");
    ok(&["export", "stories", "-o", artifact.to_str().unwrap(), "--quantize", r#"{"linear:int4": {"groupsize": 32}}"#]);
    let once = ["-i", "Once upon a time", "-n", "40", "-t", "0"];
    let unnamed = ok(&[&["generate"], &once[..]].concat());
    assert_eq!(ok(&[&["generate", "stories", "--so"], &once[..]].concat()), unnamed);
    let text = home.path().join("text");
    std::fs::write(&text, "Once upon a time, there was a little fox. ".repeat(60)).unwrap();
    let figures = ok(&["eval", "stories", "--text", text.to_str().unwrap(), "--ctx", "64", "--json"]);
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert!(figures["report"]["perplexity"]["value"].as_f64().is_some_and(|perplexity| perplexity < 20.0), "{figures}");

    ok(&["remove", "stories"]);
    let again = tcc(home.path(), &["remove", "stories"]);
    assert!(stderr(&again).contains("is built in") && again.status.code() == Some(1), "{}", stderr(&again));
}
