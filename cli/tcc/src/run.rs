//! `tcc generate`, `tcc chat`, `tcc server` and `tcc browser`: `tcrt`'s commands on models that are exported when they are first asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tcc_core::hub;
use tcrt_cli::args::Talk;
use tcrt_cli::chat::input::{Lines, Plain};
use tcrt_cli::interrupt::Watch;
use tcrt_cli::output::Result;
use tcrt_cli::serve;
use tcrt_cli::{options, run};

use crate::args::{Chat, Generate, Making, Server, Subject};
use crate::editor::Editor;
use crate::output::line;
use crate::{artifact, browser, models};

pub fn generate(mut args: Generate) -> Result<()> {
    let model = of(&args.subject, &mut args.ask.talk)?;
    run::run(&model, &args.ask)
}

pub fn chat(mut args: Chat) -> Result<()> {
    let model = of(&args.subject, &mut args.converse.talk)?;
    let mut lines: Box<dyn Lines> = match Editor::new()? {
        Some(editor) => Box::new(editor),
        None => Box::new(Plain::new()),
    };
    tcrt_cli::chat::chat(&model, &args.converse, &mut *lines)
}

pub fn server(args: &Server) -> Result<()> {
    serve_then(args, |_| ())
}

pub fn browser(args: &Server) -> Result<()> {
    serve_then(args, browser::open)
}

/// Serves; `ready` is told where.
fn serve_then(args: &Server, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let open = |model: &String| Ok((name(model)?, artifact::of(model, &args.making)?));
    let models = args.models.iter().map(open).collect::<Result<_>>()?;
    // From here on Ctrl-C is the server's to hear.
    let _watch = Watch::once().map_err(line)?;
    serve::serve(models, &args.listen, ready)
}

/// What requests call a model: as it was asked for, or a file's name without its ending.
fn name(model: &str) -> Result<String> {
    let path = Path::new(model);
    if path.exists() { serve::name(path) } else { Ok(model.to_owned()) }
}

/// The artifacts of a model, and of the one that drafts for it.
fn of(subject: &Subject, talk: &mut Talk) -> Result<PathBuf> {
    // A mistake is found before gigabytes are fetched and exported.
    options::grammar(&talk.sampling)?;
    if let Some(draft) = &talk.guessing.draft {
        hub::called(&draft.to_string_lossy()).map_err(line)?;
    }
    let model = subject.model.clone().map_or_else(models::unnamed, Ok)?;
    let model = artifact::of(&model, &subject.making)?;
    if let Some(draft) = &mut talk.guessing.draft {
        *draft = draft_of(draft, &subject.making)?;
    }
    Ok(model)
}

/// A draft is made as its model is, unless it is made already.
fn draft_of(draft: &Path, making: &Making) -> Result<PathBuf> {
    match tcc_core::inspect::is_artifact(draft) {
        true => Ok(draft.to_path_buf()),
        false => artifact::of(&draft.to_string_lossy(), making),
    }
}
