//! `tcc demo`: a small chat model fetched, exported, run and measured, with nothing asked.

use std::path::Path;
use std::time::Instant;

use tcrt::chat::{Message, Role};
use tcrt::sampling::SamplerOptions;
use tcrt::{EngineOptions, GenerateOptions, Model, NoDraft, Session, prompt};
use tcrt_cli::generate;
use tcrt_cli::output::{Result, failure, show};

use crate::args::Subject;
use crate::output::size;
use crate::{artifact, progress};

const MODEL: &str = "smollm2";
const QUESTION: &str = "Why is the sky blue? Answer in a few sentences.";
const MOST_TOKENS: usize = 160;

pub fn demo() -> Result<()> {
    let begin = Instant::now();
    let checkpoint = progress::resolve(MODEL, None)?;
    show(format!("model     {} ({:.1} s)\n", checkpoint.display(), begin.elapsed().as_secs_f64()))?;
    let artifact = artifact::of(&Subject::plain(MODEL))?;
    show(format!("artifact  {}\n", artifact.display()))?;
    let model = Model::load(&artifact)?;
    show(format!("loaded    in {:.1} ms\n", model.info().load_time.as_secs_f64() * 1e3))?;
    answer(model)?;
    show(next_steps(&artifact))
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
    let (generation, _) = generate::stream(&mut session, &tokens, &tokenizer, &options, &mut NoDraft)?;
    let threads = session.threads()?;
    show(format!("\n\n{}\n[{weights} of weights, {threads} threads]\n", generate::figures(&generation)))
}

fn next_steps(artifact: &Path) -> String {
    let artifact = artifact.display();
    let steps = [
        ("talk with it", format!("tcc -- chat {MODEL}")),
        ("other models", "tcc -- list".into()),
        ("what is inside", format!("tcrt -- info {artifact}")),
        ("how fast it is", format!("tcrt -- bench {artifact}")),
        (
            "other weights",
            format!("tcc -- export {MODEL} -o int8.pte --quantize '{{\"linear:int8\": {{\"groupsize\": 32}}}}'"),
        ),
        ("its graph", format!("tcc -- inspect {MODEL} --ir")),
    ];
    let lines = steps.map(|(what, command)| format!("  {what:<16}cargo run --release --bin {command}\n"));
    format!("\nNext:\n{}", lines.concat())
}
