//! `tcc demo`: a small chat model fetched, exported, run and measured, with nothing asked. Without a network it is the one that is built in.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tcc_core::hub::{HubError, built_in, catalog};
use tcrt::chat::{Message, Role};
use tcrt::sampling::SamplerOptions;
use tcrt::{EngineOptions, GenerateOptions, Model, NoDraft, Session, prompt};
use tcrt_cli::generate;
use tcrt_cli::output::{Result, failure, show};

use crate::args::Making;
use crate::output::{line, size};
use crate::{artifact, models, progress};

/// What is shown, and what it is asked.
#[derive(Clone, Copy)]
struct Subject {
    model: &'static str,
    question: &'static str,
}

const FETCHED: Subject = Subject { model: models::FIRST, question: "Why is the sky blue? Answer in a few sentences." };
const BUILT_IN: Subject = Subject { model: built_in::NAME, question: "Tell me a story about a fox and a lantern." };
const MOST_TOKENS: usize = 300;

pub fn demo() -> Result<()> {
    let begin = Instant::now();
    let (subject, checkpoint) = subject()?;
    show(format!("model     {} ({:.1} s)\n", checkpoint.display(), begin.elapsed().as_secs_f64()))?;
    let artifact = artifact::of(subject.model, &Making::plain())?;
    show(format!("artifact  {}\n", artifact.display()))?;
    let model = Model::load(&artifact)?;
    show(format!("loaded    in {:.1} ms\n", model.info().load_time.as_secs_f64() * 1e3))?;
    answer(model, subject.question)?;
    show(next_steps(subject.model, &artifact))
}

fn subject() -> Result<(Subject, PathBuf)> {
    let model = |subject: Subject| catalog::find(subject.model).map_err(line);
    match progress::try_fetch(&model(FETCHED)?, None) {
        Ok(checkpoint) => return Ok((FETCHED, checkpoint)),
        Err(error @ HubError::NoSource { .. }) => {
            show(format!("{error}\nthis is {}, which is built in, instead\n", BUILT_IN.model))?;
        }
        Err(error) => return Err(line(error)),
    }
    Ok((BUILT_IN, progress::fetch(&model(BUILT_IN)?, None)?))
}

fn answer(model: std::sync::Arc<Model>, question: &str) -> Result<()> {
    let Some(tokenizer) = model.tokenizer()? else {
        return failure(format!("{}: holds no tokenizer", model.name()));
    };
    let Some(format) = model.chat_format()? else {
        return failure(format!("{}: holds no chat format", model.name()));
    };
    let weights = size(model.info().weight_bytes);
    let tokens = prompt::conversation(&tokenizer, &format, &[Message { role: Role::User, content: question }])?;
    let options = GenerateOptions {
        max_new: MOST_TOKENS,
        sampling: SamplerOptions::greedy(),
        stop_tokens: prompt::stop_tokens(model.stop_tokens(), &tokenizer, Some(&format)),
        stop_strings: format.stop_strings().to_vec(),
        ..GenerateOptions::default()
    };
    let mut session = Session::new(model, &EngineOptions::default())?;
    show(format!("\n> {question}\n\n"))?;
    let (generation, _) = generate::stream(&mut session, &tokens, &tokenizer, &options, &mut NoDraft)?;
    let threads = session.threads()?;
    show(format!("\n\n{}\n[{weights} of weights, {threads} threads]\n", generate::figures(&generation)))
}

fn next_steps(model: &str, artifact: &Path) -> String {
    let artifact = artifact.display();
    let steps = [
        ("talk with it", format!("tcc -- chat {model}")),
        ("other models", "tcc -- list".into()),
        ("what is inside", format!("tcrt -- info {artifact}")),
        ("how fast it is", format!("tcrt -- bench {artifact}")),
        (
            "other weights",
            format!("tcc -- export {model} -o int8.pte --quantize '{{\"linear:int8\": {{\"groupsize\": 32}}}}'"),
        ),
        ("its graph", format!("tcc -- inspect {model} --ir")),
    ];
    let lines = steps.map(|(what, command)| format!("  {what:<16}cargo run --release --bin {command}\n"));
    format!("\nNext:\n{}", lines.concat())
}
