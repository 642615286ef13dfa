//! `tcc`: compiles checkpoints from a shell. Arguments and printing; the work is `tcc-core`'s.

mod args;
mod artifact;
mod browser;
mod demo;
mod editor;
mod eval;
mod export;
mod inspect;
mod manual;
mod models;
mod output;
mod progress;
mod run;
mod synth;
mod tokenizer;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo => demo::demo(),
        Command::List(args) => models::list(&args),
        Command::Download(args) => models::download(&args),
        Command::Where(args) => models::place(&args),
        Command::Remove(args) => models::remove(&args),
        Command::Generate(args) => run::generate(args),
        Command::Chat(args) => run::chat(args),
        Command::Server(args) => run::server(&args),
        Command::Browser(args) => run::browser(&args),
        Command::Export(args) => export::export(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Tokenizer(args) => tokenizer::tokenizer(&args),
        Command::Synth(args) => synth::synth(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Manual(args) => manual::manual(&args),
    };
    tcrt_cli::output::exit_code("tcc", outcome)
}
