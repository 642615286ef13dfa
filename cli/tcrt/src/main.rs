//! `tcrt`: runs exported models from a shell.

mod hand_over;

use std::process::ExitCode;

use clap::Parser;

use tcrt_cli::args::{Cli, Command};
use tcrt_cli::chat::input::Plain;
use tcrt_cli::output::exit_code;
use tcrt_cli::{bench, chat, info, logits, run, tokenize};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args.file, &args.ask),
        Command::Chat(args) => chat::chat(&args.file, &args.converse, &mut Plain::new()),
        Command::Serve(args) => hand_over::hand_over(&args.args),
        Command::Bench(args) => bench::bench(&args),
        Command::Info(args) => info::info(&args),
        Command::Logits(args) => logits::logits(&args),
        Command::Tokenize(args) => tokenize::tokenize(&args),
    };
    exit_code("tcrt", outcome)
}
