//! `tcrt serve` becomes `tcrt-serve`, which lies beside it: a server's code would double this program.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use tcrt_cli::output::{Result, failure};

const NAME: &str = "tcrt-serve";

pub fn hand_over(args: &[OsString]) -> Result<()> {
    let program = beside().unwrap_or_else(|| NAME.into());
    let error = become_program(Command::new(&program).args(args));
    failure(match error.kind() {
        io::ErrorKind::NotFound => format!("{NAME} is neither beside this program nor in PATH"),
        _ => format!("{}: {error}", program.display()),
    })
}

fn beside() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.with_file_name(NAME).with_extension(std::env::consts::EXE_EXTENSION);
    program.exists().then_some(program)
}

/// Returns only where it fails.
#[cfg(unix)]
fn become_program(command: &mut Command) -> io::Error {
    use std::os::unix::process::CommandExt;
    command.exec()
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
