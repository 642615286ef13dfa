//! `tcc demo`: a small chat model fetched, exported, run and measured, with nothing asked.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tcc_core::hub;
use tcrt::chat::{Message, Role};
use tcrt::sampling::SamplerOptions;
use tcrt::{EngineOptions, GenerateOptions, Model, Session, prompt};
use tcrt_cli::generate;
use tcrt_cli::output::{Result, failure, show};

use crate::args::Export;
use crate::output::{line, size};
use crate::progress;

const MODEL: &str = "smollm2";
const QUESTION: &str = "Why is the sky blue? Answer in a few sentences.";
const MOST_TOKENS: usize = 160;

pub fn demo() -> Result<()> {
    let checkpoint = fetch()?;
    let artifact = export(&checkpoint)?;
    let model = Model::load(&artifact)?;
    show(format!("loaded    in {:.1} ms\n", model.info().load_time.as_secs_f64() * 1e3))?;
    answer(model)?;
    show(next_steps(&checkpoint, &artifact))
}

fn fetch() -> Result<PathBuf> {
    let begin = Instant::now();
    let here = hub::cached(MODEL).map_err(line)?;
    let checkpoint = match &here {
        Some(path) => path.clone(),
        None => progress::resolve(MODEL)?,
    };
    let how =
        if here.is_some() { "cached".into() } else { format!("fetched in {:.1} s", begin.elapsed().as_secs_f64()) };
    show(format!("model     {} ({how})\n", checkpoint.display()))?;
    Ok(checkpoint)
}

/// The artifact in the cache; another version of tcc makes one of its own.
fn export(checkpoint: &Path) -> Result<PathBuf> {
    let folder = hub::cache_dir().map_err(line)?.join("artifacts");
    let artifact = folder.join(format!("{MODEL}-{}.pte", env!("CARGO_PKG_VERSION")));
    if artifact.exists() && Model::load(&artifact).is_ok() {
        show(format!("artifact  {} (cached)\n", artifact.display()))?;
        return Ok(artifact);
    }
    std::fs::create_dir_all(&folder).map_err(|error| line(format!("{}: {error}", folder.display())))?;
    let begin = Instant::now();
    let written = crate::export::make(&Export::plain(checkpoint, &artifact))?.written;
    let (size, seconds) = (size(written.file_bytes), begin.elapsed().as_secs_f64());
    show(format!("artifact  {} ({size}, exported in {seconds:.1} s)\n", artifact.display()))?;
    Ok(artifact)
}

fn answer(model: std::sync::Arc<Model>) -> Result<()> {
    let Some(tokenizer) = model.tokenizer()? else {
        return failure(format!("{}: holds no tokenizer", model.name()));
    };
    let Some(format) = model.chat_format()? else {
        return failure(format!("{}: holds no chat format", model.name()));
    };
    let weights = size(model.info().weight_bytes);
    let tokens = prompt::conversation(&tokenizer, &format, &[Message { role: Role::User, content: QUESTION }])?;
    let options = GenerateOptions {
        max_new: MOST_TOKENS,
        sampling: SamplerOptions::greedy(),
        stop_tokens: prompt::stop_tokens(model.stop_tokens(), &tokenizer, Some(&format)),
        stop_strings: format.stop_strings().to_vec(),
        ..GenerateOptions::default()
    };
    let mut session = Session::new(model, &EngineOptions::default())?;
    show(format!("\n> {QUESTION}\n\n"))?;
    let (generation, _) = generate::stream(&mut session, &tokens, &tokenizer, &options)?;
    let threads = session.threads()?;
    show(format!("\n\n{}\n[{weights} of weights, {threads} threads]\n", generate::figures(&generation)))
}

fn next_steps(checkpoint: &Path, artifact: &Path) -> String {
    let (checkpoint, artifact) = (checkpoint.display(), artifact.display());
    let steps = [
        ("talk with it", format!("tcrt -- chat {artifact}")),
        ("what is inside", format!("tcrt -- info {artifact}")),
        ("how fast it is", format!("tcrt -- bench {artifact}")),
        (
            "other weights",
            format!("tcc -- export {checkpoint} -o int8.pte --quantize '{{\"linear:int8\": {{\"groupsize\": 32}}}}'"),
        ),
        ("its graph", format!("tcc -- inspect {checkpoint} --ir")),
    ];
    let lines = steps.map(|(what, command)| format!("  {what:<16}cargo run --release --bin {command}\n"));
    format!("\nNext:\n{}", lines.concat())
}
