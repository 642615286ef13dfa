//! Compilers and other programs, where a machine has them.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Compiler {
    pub program: &'static str,
    pub standard: &'static [&'static str],
    language: &'static str,
}

impl Compiler {
    pub const C: [Compiler; 2] = [
        Compiler { program: "gcc", standard: &["-std=gnu11"], language: "c" },
        Compiler { program: "clang", standard: &["-std=gnu11"], language: "c" },
    ];
    pub const CPP: [Compiler; 2] = [
        Compiler { program: "g++", standard: &["-std=c++17"], language: "c++" },
        Compiler { program: "clang++", standard: &["-std=c++17"], language: "c++" },
    ];

    /// Whether the compiler is there, with the library that these flags need.
    pub fn can(&self, flags: &[&str]) -> bool {
        let mut command = Command::new(self.program);
        command.args(flags).args(["-x", self.language, "-", "-o", "/dev/null"]);
        let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            return false;
        };
        let written = child.stdin.take().unwrap().write_all(b"int main(void) { return 0; }");
        child.wait().unwrap().success() && written.is_ok()
    }
}

pub fn available(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Says what was not tested, even where the test's own output is captured.
pub fn skip(what: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Not `eprintln!`, which the test harness captures.
    let _ = writeln!(std::io::stderr(), "SKIPPED ({count}): {what}");
}

/// What it printed; anything but success fails the test with all it said.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    finished(command, output)
}

pub fn run_with_input(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    finished(command, output)
}

fn finished(command: &Command, output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}
