//! `tcrt`: runs exported models from a shell. Arguments and printing; the work is `libtcrt`'s.

mod args;
mod bench;
mod chat;
mod info;
mod logits;
mod open;
mod options;
mod run;
mod tokenize;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use tcrt_cli::output::exit_code;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Info(args) => info::info(&args),
        Command::Logits(args) => logits::logits(&args),
        Command::Tokenize(args) => tokenize::tokenize(&args),
    };
    exit_code("tcrt", outcome)
}
