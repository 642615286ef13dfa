//! The whole way from a checkpoint to an artifact.

mod calibrate;
mod compile;
mod text;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub(crate) use compile::shape;
pub use compile::{CompileError, Compiled, FRONTEND, compile};

use calibrate::Calibrated;
use tc_ir::Graph;
use tc_targets::Target;
use text::Text;
pub use text::import_tokenizer;

use crate::chat;
use crate::checkpoint::{self, Checkpoint, CheckpointError, OpenOptions};
use crate::config::ModelConfig;
use crate::emit::{Artifact, Constants, EmitError, Progress, Written, pte, so};
use crate::quality::Matrices;
use crate::quantize::QuantizeError;
use crate::recipe::{Accelerator, Recipe};
use crate::tokenizer::TokenizerError;

pub type AfterPass<'a> = dyn FnMut(&str, &Graph) + 'a;

pub struct ExportOptions<'a> {
    /// What people call the model, instead of what the checkpoint says.
    pub name: Option<String>,
    pub recipe: Recipe,
    /// What methods that need a text read, instead of the text that is built in.
    pub calibration: Option<String>,
    /// Gives the shape where the checkpoint has none.
    pub params_path: Option<PathBuf>,
    /// Instead of the checkpoint's own.
    pub tokenizer: Option<PathBuf>,
    /// Instead of the checkpoint's own: the name of a built-in format, or a file with a Jinja template.
    pub chat_template: Option<String>,
    /// Fewer positions than the model was made for.
    pub max_positions: Option<usize>,
    /// What native code is made for; none: this machine. Program files run on all.
    pub target: Option<&'static Target>,
    /// A native artifact's weights in a file beside it.
    pub separate_weights: bool,
    /// Shown every graph with the name of the pass that made it.
    pub after_pass: Option<&'a mut AfterPass<'a>>,
    pub progress: Progress<'a>,
}

impl Default for ExportOptions<'_> {
    /// Everything as the checkpoint has it, and nobody who looks on.
    fn default() -> Self {
        ExportOptions {
            name: None,
            recipe: Recipe::default(),
            calibration: None,
            params_path: None,
            tokenizer: None,
            chat_template: None,
            max_positions: None,
            target: None,
            separate_weights: false,
            after_pass: None,
            progress: &|_, _| ControlFlow::Continue(()),
        }
    }
}

#[derive(Debug)]
pub struct Report {
    pub config: ModelConfig,
    pub written: Written,
    pub instructions: usize,
    pub warnings: Vec<Warning>,
    pub recipe: String,
    pub matrices: Matrices,
}

/// What an artifact lacks; it runs without.
#[derive(Debug)]
pub enum Warning {
    NoTokenizer(String),
    NoChatFormat(String),
    /// The vocabulary names tokens that the model has no rows for.
    LargeVocabulary {
        tokenizer: usize,
        model: usize,
    },
    /// The recipe's executor is not the CPU.
    Executor(Accelerator),
    /// Why a model that should be tuned cannot be.
    NotTuned(&'static str),
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("{0}: has no vocabulary")]
    NoVocabulary(String),
    #[error("the tokenizer does not load: {0}")]
    TokenizerBytes(tcrt::Error),
    #[error(transparent)]
    Chat(#[from] chat::Error),
    #[error("chat template {0}: neither a file that can be read ({1}) nor a built-in format: {2}")]
    NoSuchTemplate(String, std::io::Error, String),
    #[error("a context of {0} is not between 1 and the model's {1}")]
    Context(usize, usize),
    #[error("native code for this machine is not to be had; --target takes one of {0}")]
    NoTarget(String),
    #[error("weights in a file of their own are for native artifacts (.so)")]
    SeparateWeights,
    #[error(transparent)]
    Emit(#[from] EmitError),
}

pub fn export(model: &Path, output: &Path, options: ExportOptions) -> Result<Report, ExportError> {
    let native = native(output, &options)?;
    let checkpoint = open(model, &options)?;
    let elsewhere = |device: &Accelerator| !matches!(device, Accelerator::Fast | Accelerator::Cpu);
    let Text { tokenizer, chat, stop_tokens, mut warnings } =
        text::prepare(&checkpoint, options.tokenizer.as_deref(), options.chat_template.as_deref())?;
    let (recipe, calibration) = (&options.recipe, options.calibration.as_deref());
    let Calibrated { recipe, quantized, weights, obstacle } =
        calibrate::calibrate(&checkpoint, recipe, calibration, &tokenizer, options.progress)?;
    let compiled =
        compile(&checkpoint.config, &quantized.tensors, &recipe, options.after_pass.unwrap_or(&mut |_, _| {}))?;
    warnings.extend(obstacle.map(Warning::NotTuned));
    warnings.extend(options.recipe.executor.filter(elsewhere).map(Warning::Executor));
    let artifact = Artifact {
        program: &compiled.program,
        constants: &Constants::new(&checkpoint.config, &quantized.tensors),
        metadata: metadata(&checkpoint, &options.recipe),
        stop_tokens,
        tokenizer,
        chat,
    };
    let written = match native {
        Some(native) => so::write(output, &artifact, native, options.progress)?,
        None => pte::write(output, &artifact, options.progress)?,
    };
    let matrices = Matrices { quantized, weights };
    Ok(Report {
        config: checkpoint.config,
        written,
        instructions: compiled.program.instructions.len(),
        warnings,
        recipe: options.recipe.to_string(),
        matrices,
    })
}

/// The file's name says which kind of artifact it is to be.
fn native(output: &Path, options: &ExportOptions) -> Result<Option<so::Options>, ExportError> {
    let native = output.extension().is_some_and(|extension| extension == "so");
    if !native {
        return if options.separate_weights { Err(ExportError::SeparateWeights) } else { Ok(None) };
    }
    let names = || tc_targets::ALL.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let target = options.target.or_else(tc_targets::host).ok_or_else(|| ExportError::NoTarget(names()))?;
    Ok(Some(so::Options { target, separate_weights: options.separate_weights }))
}

fn open(model: &Path, options: &ExportOptions) -> Result<Checkpoint, ExportError> {
    let mut checkpoint = checkpoint::open(model, &OpenOptions { params_path: options.params_path.clone() })?;
    if let Some(name) = &options.name {
        checkpoint.config.name.clone_from(name);
    }
    let made_for = checkpoint.config.max_positions;
    match options.max_positions {
        None => {}
        Some(positions) if (1..=made_for).contains(&positions) => checkpoint.config.max_positions = positions,
        Some(positions) => return Err(ExportError::Context(positions, made_for)),
    }
    Ok(checkpoint)
}

/// What `tcrt info` shows of the model beside what the program itself says.
fn metadata(checkpoint: &Checkpoint, recipe: &Recipe) -> Vec<(String, String)> {
    let mut entries = checkpoint::summarize(checkpoint).config;
    entries.retain(|(key, _)| !["vocab", "positions", "stop tokens"].contains(key));
    entries.push(("recipe", recipe.to_string()));
    entries.push(("source", checkpoint.format.name().to_string()));
    entries.push(("writer", format!("tcc {}", env!("CARGO_PKG_VERSION"))));
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NoTokenizer(why) => {
                write!(f, "no tokenizer in the artifact ({why}); give one with -z, here or when running")
            }
            Warning::NoChatFormat(why) => write!(f, "no chat format in the artifact: {why}"),
            Warning::Executor(device) => {
                write!(f, "the recipe's executor is {}, but libtcrt runs on the CPU only", device.name())
            }
            Warning::NotTuned(why) => write!(f, "the quantized model is not tuned: {why}"),
            Warning::LargeVocabulary { tokenizer, model } => {
                write!(f, "the tokenizer has {tokenizer} tokens, but the model only {model}")
            }
        }
    }
}
