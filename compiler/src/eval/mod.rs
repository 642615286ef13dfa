//! How well a model predicts: perplexity of a text as llama.cpp computes it, how far its predictions are from those of another
//! model on the same tokens, and the tasks of the lm-evaluation-harness.

mod score;
mod subject;
mod tasks;
mod windows;

pub use score::{Divergence, Estimate, Report};
pub(crate) use score::{divergence, log_sum_exp};
pub use subject::{Subject, read_text};
pub use tasks::{Figures, Sample, TaskFile, TaskReport, run_tasks, task_files};

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tcrt::{BatchToken, Engine, EngineOptions, KvType, Model, SeqId};

use crate::export::ExportError;
use score::Score;
use windows::{Window, Windows};

/// Tokens of a call, and with that rows of logits in memory: a row has as many numbers as the vocabulary.
const PIECE: usize = 128;

/// Tokens of a window of a text.
const TEXT_WINDOW: usize = 512;

#[derive(Clone, Copy, Debug, Default)]
pub struct EvalOptions {
    /// Tokens of a window; none: 512 of a text, of tasks as many as the model has positions.
    pub ctx: Option<usize>,
    /// Windows, or documents of each task, at most.
    pub limit: Option<usize>,
    /// 0: as many as there are processors.
    pub threads: usize,
    /// Element type of the KV cache, not of the base's; none: f16.
    pub kv: Option<KvType>,
}

impl EvalOptions {
    fn text_window(&self) -> usize {
        self.ctx.unwrap_or(TEXT_WINDOW)
    }

    fn kv(&self) -> KvType {
        self.kv.unwrap_or(EngineOptions::default().kv_dtype)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Runtime(#[from] tcrt::Error),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("{0}: holds no tokenizer")]
    NoTokenizer(String),
    #[error("{0}: {1}")]
    Tasks(String, String),
    #[error("windows of {0} tokens: the smallest that has a second half to predict is 4")]
    Context(usize),
    #[error("the text has {tokens} tokens, fewer than one window of {ctx}")]
    TooShort { tokens: usize, ctx: usize },
    #[error("the base has a vocabulary of {base}, the model one of {model}: their predictions cannot be compared")]
    Vocabulary { base: usize, model: usize },
    #[error("cancelled")]
    Cancelled,
}

/// The tokens of a text as llama.cpp's perplexity has them: special tokens written in it are text, and it begins with `bos` where
/// the model's prompts do.
pub fn tokenize(model: &Model, text: &str) -> Result<Text, EvalError> {
    let tokenizer = model.tokenizer()?.ok_or_else(|| EvalError::NoTokenizer(model.name().to_string()))?;
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let text = tokenizer.encode(text, tcrt::tokenizer::Special::AsText);
    Ok(Text { tokens: bos.into_iter().chain(text).collect(), bos })
}

/// A text to predict.
#[derive(Clone, Debug)]
pub struct Text {
    pub tokens: Vec<u32>,
    /// What takes the place of each window's first token.
    pub bos: Option<u32>,
}

/// Windows of `ctx` tokens, one after the other; each token of a window's second half is predicted from all that stand before it in
/// the window. `progress` is told the windows done and all.
pub fn evaluate(
    model: &Arc<Model>,
    base: Option<&Arc<Model>>,
    text: &Text,
    options: &EvalOptions,
    progress: &dyn Fn(u64, u64) -> ControlFlow<()>,
) -> Result<Report, EvalError> {
    let windows = Windows::new(text, options)?;
    check_vocabularies(model, base)?;
    let mut model = Runner::new(model, options)?;
    let mut base = base.map(|base| Runner::new(base, &EvalOptions { kv: None, ..*options })).transpose()?;
    let mut score = Score::default();
    for done in 0..windows.count() {
        if progress(done as u64, windows.count() as u64).is_break() {
            return Err(EvalError::Cancelled);
        }
        predict(&windows.get(done), &mut model, base.as_mut(), &mut score)?;
    }
    Ok(score.report(windows.count(), options.text_window()))
}

fn check_vocabularies(model: &Model, base: Option<&Arc<Model>>) -> Result<(), EvalError> {
    let model = model.info().vocab;
    match base.map(|base| base.info().vocab) {
        Some(base) if base != model => Err(EvalError::Vocabulary { base, model }),
        _ => Ok(()),
    }
}

fn predict(
    window: &Window,
    model: &mut Runner,
    mut base: Option<&mut Runner>,
    score: &mut Score,
) -> Result<(), EvalError> {
    for runner in [Some(&mut *model), base.as_deref_mut()].into_iter().flatten() {
        runner.begin(window.past())?;
    }
    let inputs = window.inputs().chunks(PIECE);
    for (inputs, targets) in inputs.zip(window.targets().chunks(PIECE)) {
        let logits = model.forward(inputs, true)?;
        match base.as_deref_mut() {
            None => (0..).zip(targets).for_each(|(row, target)| score.add(logits.row(row), *target)),
            Some(base) => {
                let base = base.forward(inputs, true)?;
                (0..).zip(targets).for_each(|(row, target)| score.add_pair(logits.row(row), base.row(row), *target));
            }
        }
    }
    Ok(())
}

/// An engine with one sequence.
struct Runner {
    engine: Engine,
    sequence: SeqId,
    batch: Vec<BatchToken>,
}

impl Runner {
    fn new(model: &Arc<Model>, options: &EvalOptions) -> Result<Runner, EvalError> {
        let options = EngineOptions {
            threads: options.threads,
            chunk: PIECE,
            max_rows: PIECE,
            context: options.text_window(),
            kv_dtype: options.kv(),
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(Arc::clone(model), &options).map_err(|error| error.in_place(model.name()))?;
        let sequence = engine.add_sequence()?;
        Ok(Runner { engine, sequence, batch: Vec::new() })
    }

    /// Forgets what came before; `past` is read, not predicted.
    fn begin(&mut self, past: &[u32]) -> Result<(), EvalError> {
        self.engine.truncate(self.sequence, 0)?;
        past.chunks(PIECE).try_for_each(|piece| self.forward(piece, false).map(|_| ()))
    }

    fn forward(&mut self, tokens: &[u32], want_logits: bool) -> Result<tcrt::Logits<'_>, EvalError> {
        let sequence = self.sequence;
        self.batch.clear();
        self.batch.extend(tokens.iter().map(|&token| BatchToken { sequence, token, want_logits }));
        let name = self.engine.model().name().to_string();
        self.engine.forward(&self.batch).map_err(|error| error.in_place(name).into())
    }
}
