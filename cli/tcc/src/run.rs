//! `tcc generate`, `tcc chat` and `tcc server`: `tcrt`'s commands on models that are exported when they are first asked for.

use std::path::{Path, PathBuf};

use tcrt_cli::args::Talk;
use tcrt_cli::options;
use tcrt_cli::output::Result;
use tcrt_cli::serve;

use crate::args::{Chat, Generate, Server, Subject};
use crate::artifact;

pub fn generate(args: &Generate) -> Result<()> {
    check(&args.ask.talk)?;
    tcrt_cli::run::run(&of(&args.subject)?, &args.ask)
}

pub fn chat(args: &Chat) -> Result<()> {
    check(&args.talk)?;
    tcrt_cli::chat::chat(&of(&args.subject)?, &args.talk)
}

/// A mistake is found before gigabytes are fetched and exported.
fn check(talk: &Talk) -> Result<()> {
    options::grammar(&talk.sampling).map(|_| ())
}

pub fn server(args: &Server) -> Result<()> {
    let open = |model: &String| Ok((name(model)?, artifact::of(model, &args.making)?));
    serve::serve(args.models.iter().map(open).collect::<Result<_>>()?, &args.listen)
}

/// What requests call a model: as it was asked for, or a file's name without its ending.
fn name(model: &str) -> Result<String> {
    let path = Path::new(model);
    if path.exists() { serve::name(path) } else { Ok(model.to_owned()) }
}

fn of(subject: &Subject) -> Result<PathBuf> {
    artifact::of(&subject.model, &subject.making)
}
