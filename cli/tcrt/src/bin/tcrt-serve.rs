//! `tcrt serve`, which is a program of its own: `tcrt` stays small for where nothing is served.

use std::process::ExitCode;

use clap::Parser;

use tcrt_cli::output::exit_code;
use tcrt_cli::{args, serve};

fn main() -> ExitCode {
    let args = args::Serve::parse();
    exit_code("tcrt serve", serve::serve_files(&args.files, &args.listen))
}
