//! Without a terminal: lines in, replies out, and nothing else on stdout.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::home;

fn chat(home: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcc"));
    command.args(["chat", "tiny.pte", "-s", "1"]).args(args).current_dir(home).env("TCC_CACHE", home.join("cache"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(mut chat: Child, lines: &str) -> Output {
    // Who refuses may be gone before a line comes.
    let told = chat.stdin.take().unwrap().write_all(lines.as_bytes());
    assert!(told.as_ref().map_or_else(|error| error.kind() == ErrorKind::BrokenPipe, |()| true), "{told:?}");
    chat.wait_with_output().unwrap()
}

#[test]
fn each_line_is_a_message_or_a_command() {
    let home = home();
    let args = ["--grammar", "root ::= \"**a**\"", "--system", "be"];
    let output = said(chat(home.path(), &args), "one\n\n\"\"\"\ntwo\nlines\n\"\"\"\n/save talk\nthree");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "**a**\n**a**\n**a**\n");
    assert_eq!((String::from_utf8_lossy(&output.stderr).as_ref(), output.status.code()), ("", Some(0)));
    let talk: serde_json::Value = serde_json::from_slice(&std::fs::read(home.path().join("talk")).unwrap()).unwrap();
    let contents: Vec<&str> =
        talk["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(contents, ["be", "one", "**a**", "two\nlines", "**a**"]);

    let output = said(chat(home.path(), &["--load", "talk"]), "/undo\n/undo\n/system\n/undo\n/stats\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((stderr.as_ref(), output.status.code()), ("be\ntcc: there is nothing to take back\n", Some(1)));
}

#[test]
fn who_stops_reading_is_no_failure() {
    let home = home();
    let mut chat = chat(home.path(), &["-n", "4000", "--context", "5000", "--logit-bias", "511=-inf"]);
    chat.stdin.take().unwrap().write_all(b"hello\nhello\n").unwrap();
    // Any byte of the reply; then the pipe closes.
    let first = BufReader::new(chat.stdout.take().unwrap()).fill_buf().unwrap().len();
    let output = chat.wait_with_output().unwrap();
    assert_eq!((first > 0, output.status.code(), output.stderr.len()), (true, Some(0), 0));
}

#[test]
fn a_conversation_that_does_not_fit_is_one_line() {
    let home = home();
    let output = said(chat(home.path(), &["--context", "64", "-n", "8"]), &format!("{}\n", "long ".repeat(20)));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("more than the context of 64: /undo") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!((output.stdout.len(), output.status.code()), (0, Some(1)));
}

#[test]
fn a_base_model_goes_on_from_each_line_alone() {
    let home = home();
    std::fs::rename(home.path().join("tiny"), home.path().join("base")).unwrap();
    let tcc = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_tcc")).args(args).current_dir(&home).output().unwrap();
    assert!(tcc(&["export", "base", "-o", "tiny.pte"]).status.success());
    let twice = said(chat(home.path(), &["-n", "5", "-t", "0"]), "one\none\n");
    let replies: Vec<&str> = std::str::from_utf8(&twice.stdout).unwrap().split_terminator('\n').collect();
    assert!(replies.len() == 2 && replies[0] == replies[1], "{replies:?}");
    let refused = said(chat(home.path(), &["--system", "be"]), "one\n");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no chat format, so no system message"));
}

#[test]
fn an_earlier_reply_loses_its_reasoning_where_the_format_says_so() {
    let home = home();
    let template = "{% for m in messages %}{% if m.role == 'assistant' %}{% set c = m.content.split('</think>')[-1] %}\
        {% else %}{% set c = m.content %}{% endif %}{{ m.role }}:{{ c }}\n{% endfor %}\
        {% if add_generation_prompt %}assistant:{% endif %}";
    std::fs::write(home.path().join("thinking.jinja"), template).unwrap();
    let tcc = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_tcc")).args(args).current_dir(&home).output().unwrap();
    let exported = tcc(&["export", "tiny", "-o", "tiny.pte", "--chat-template", "thinking.jinja"]);
    assert_eq!(String::from_utf8_lossy(&exported.stderr), "");
    let output = said(chat(home.path(), &["--grammar", "root ::= \"<think>deep</think>yes\""]), "a\nb\n/stats\n");
    // Each byte is a token.
    let tokens = "user:a\nassistant:yes\nuser:b\nassistant:<think>deep</think>yes".len();
    let stats = String::from_utf8_lossy(&output.stderr);
    assert!(stats.contains(&format!("context    {tokens} of ")), "{tokens}: {stats}");
}
