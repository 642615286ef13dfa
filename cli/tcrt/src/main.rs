//! `tcrt`: runs exported models from a shell. Arguments and printing; the work is `libtcrt`'s.

mod args;
mod bench;
mod chat;
mod generate;
mod info;
mod logits;
mod open;
mod output;
mod run;
mod tokenize;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Info(args) => info::info(&args),
        Command::Logits(args) => logits::logits(&args),
        Command::Tokenize(args) => tokenize::tokenize(&args),
    };
    output::exit_code(outcome)
}
