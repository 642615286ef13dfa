//! What the command line may say.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tc_targets::Target;
use tcc_core::eval::{self, EvalError};
use tcc_core::recipe::{Kind, Recipe, RecipeError};
use tcc_core::synth;
use tcrt_cli::args::Kv;

/// Compiles Llama-family checkpoints ahead of time.
#[derive(Parser)]
#[command(name = "tcc", version, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Fetch a small chat model (without a network: take the one that is built in), export it, run it, and say what to try next
    Demo,
    /// The models that tcc knows by name
    List(List),
    /// Fetch a model
    Download(Download),
    /// Where a model lies that was fetched
    Where(Named),
    /// Delete a model that was fetched, and what was exported from it
    Remove(Remove),
    /// Continue a prompt, or answer it with --chat; exports the model on first use
    Generate(Generate),
    /// Talk with a model, turn by turn; exports it on first use
    Chat(Chat),
    /// Serve models over HTTP, with OpenAI's API and a page to talk with them; exports them on first use
    Server(Server),
    /// As server, and opens the page in the browser
    Browser(Server),
    /// Compile a checkpoint to an artifact
    Export(Export),
    /// Measure how well a model predicts a text, or how it does at tasks
    Eval(Eval),
    /// Show what is in a checkpoint or an artifact
    Inspect(Inspect),
    /// Convert a tokenizer to the runtime's tokenizer file
    Tokenizer(Tokenizer),
    /// Write a random checkpoint of a model's shape
    Synth(Synth),
    /// Completions of commands and options, for a shell
    Completions(Completions),
    /// What releases carry: completions, man pages, the reference of docs/cli
    #[command(hide = true)]
    Manual(Manual),
}

#[derive(Debug, Args)]
pub struct List {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Download {
    /// A name of `tcc list`, or org/name of a Hugging Face repository
    pub model: String,
    /// For gated models [default: HF_TOKEN, else what `hf auth login` left]
    #[arg(long, value_name = "TOKEN")]
    pub hf_token: Option<String>,
}

#[derive(Debug, Args)]
pub struct Named {
    /// A name of `tcc list`, or org/name of a Hugging Face repository
    pub model: String,
}

#[derive(Debug, Args)]
pub struct Remove {
    /// A name of `tcc list`, org/name of a Hugging Face repository, or a path, of which only what was exported is deleted
    pub model: String,
}

#[derive(Args)]
pub struct Generate {
    #[command(flatten)]
    pub subject: Subject,
    #[command(flatten)]
    pub ask: tcrt_cli::args::Ask,
}

#[derive(Args)]
pub struct Chat {
    #[command(flatten)]
    pub subject: Subject,
    #[command(flatten)]
    pub converse: tcrt_cli::args::Converse,
}

#[derive(Args)]
pub struct Server {
    /// Artifacts, names of `tcc list`, org/name of Hugging Face repositories, directories or files
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<String>,
    #[command(flatten)]
    pub making: Making,
    #[command(flatten)]
    pub listen: tcrt_cli::args::Listen,
}

/// A model that is exported on first use.
#[derive(Debug, Args)]
pub struct Subject {
    /// An artifact, a name of `tcc list`, org/name of a Hugging Face repository, a directory or a file [default: smollm2 if it has
    /// been downloaded, else the model that is built in]
    pub model: Option<String>,
    #[command(flatten)]
    pub making: Making,
}

/// How the artifact is made that a command runs.
#[derive(Debug, Args)]
pub struct Making {
    #[command(flatten)]
    pub format: Format,
    /// Make a portable program (.pte), which is what is made unless asked otherwise
    #[arg(long, conflicts_with = "so")]
    pub pte: bool,
    /// Make native code (.so)
    #[arg(long)]
    pub so: bool,
    /// For gated models [default: HF_TOKEN, else what `hf auth login` left]
    #[arg(long, value_name = "TOKEN")]
    pub hf_token: Option<String>,
}

/// Some thousand predictions: a mean divergence within a few parts of a hundred.
const REPORT_WINDOWS: usize = 8;

#[derive(Debug, Args)]
pub struct Export {
    /// A name of the catalog, a directory or a file
    pub model: String,
    /// The artifact to write: a portable program (.pte) or native code (.so)
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub format: Format,
    /// A JSON file that gives the shape where the checkpoint has none
    #[arg(long, value_name = "FILE")]
    pub params_path: Option<PathBuf>,
    /// The tokenizer to put inside, instead of the checkpoint's
    #[arg(short = 'z', long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// The chat template, instead of the checkpoint's: a Jinja file, or the name of a built-in format
    #[arg(long, value_name = "FILE|NAME")]
    pub chat_template: Option<String>,
    /// Positions a session may have, fewer than the model was made for
    #[arg(long, value_name = "N")]
    pub max_context: Option<usize>,
    /// The machine that native code is for (default: this one)
    #[arg(long, value_name = "NAME", value_parser = target)]
    pub target: Option<&'static Target>,
    /// Where a native artifact's weights go: inside, or in a .weights file beside it
    #[arg(long, value_enum, default_value_t = Weights::Inside)]
    pub weights: Weights,
    /// Print the graph after a pass ("frontend": before all of them)
    #[arg(long, value_name = "PASS")]
    pub print_ir_after: Option<String>,
    /// Measure the artifact against the checkpoint, and write what quantizing did as a page; one that is there already gathers exports
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// The text that the report's predictions are of (default: one that is built in)
    #[arg(long, value_name = "FILE", requires = "report")]
    pub report_text: Option<PathBuf>,
    /// Windows of 512 tokens of it
    #[arg(long, value_name = "N", requires = "report", default_value_t = REPORT_WINDOWS)]
    pub report_windows: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Weights {
    Inside,
    Separate,
}

fn target(name: &str) -> Result<&'static Target, String> {
    let names: Vec<&str> = tc_targets::ALL.iter().map(|target| target.name).collect();
    tc_targets::find(name).ok_or_else(|| format!("there is no such target; there are {}", names.join(", ")))
}

/// How the weights are stored.
#[derive(Clone, Debug, Args)]
pub struct Format {
    /// A quantization recipe: JSON, or a file with JSON, as in {"linear:int4": {"groupsize": 32}}
    #[arg(long, value_name = "JSON|FILE")]
    pub quantize: Option<String>,
    /// With the recipe auto, so many bits a weight on average (default: 4.5)
    #[arg(long, value_name = "X")]
    pub bits_per_weight: Option<f64>,
    /// The text that shows which weights matter, for methods that need one (default: one that is built in). With rounding to
    /// nearest, scales are searched by it
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// The float format of matrices that are not quantized (default: the checkpoint's)
    #[arg(long)]
    pub dtype: Option<Dtype>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Dtype {
    #[value(aliases = ["fp32", "float32", "float"])]
    F32,
    #[value(aliases = ["fp16", "float16", "half"])]
    F16,
    #[value(alias = "bfloat16")]
    Bf16,
}

impl Format {
    pub fn calibration(&self) -> Result<Option<String>, EvalError> {
        self.calibration.as_deref().map(eval::read_text).transpose()
    }

    pub fn recipe(&self) -> Result<Recipe, RecipeError> {
        let recipe = self.quantize.as_deref().map_or(Ok(Recipe::default()), Recipe::from_argument)?;
        let recipe = self.bits_per_weight.map_or(Ok(recipe.clone()), |bits| recipe.with_bits_per_weight(bits))?;
        match self.dtype {
            None => Ok(recipe),
            Some(Dtype::F32) => recipe.with_dtype(Kind::F32),
            Some(Dtype::F16) => recipe.with_dtype(Kind::F16),
            Some(Dtype::Bf16) => recipe.with_dtype(Kind::Bf16),
        }
    }
}

#[derive(Debug, Args)]
pub struct Eval {
    /// An artifact, or a checkpoint (a name of the catalog, a directory or a file), which is exported to a temporary file
    pub model: String,
    /// The text to predict
    #[arg(long, value_name = "FILE", required_unless_present = "tasks")]
    pub text: Option<PathBuf>,
    /// Tasks of lm-evaluation-harness, several with commas between: TASK=FILE with documents as JSON lines, a file named after its
    /// task (hellaswag.jsonl), or a directory of such files
    #[arg(long, value_name = "TASK=FILE|DIR", conflicts_with = "text")]
    pub tasks: Option<String>,
    /// Tokens of a window (default: 512 of a text, of which the second half is predicted; for tasks all that the model has positions for)
    #[arg(long, value_name = "N")]
    pub ctx: Option<usize>,
    /// Only this many windows, or documents of each task
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Compare with the predictions of this artifact or checkpoint, which is taken as it is
    #[arg(long, value_name = "FILE", conflicts_with = "tasks")]
    pub base: Option<String>,
    /// Write each document's log-likelihoods here, as JSON lines
    #[arg(long, value_name = "FILE", requires = "tasks")]
    pub samples: Option<PathBuf>,
    #[command(flatten)]
    pub format: Format,
    /// Threads (default: one for each processor)
    #[arg(short, long, value_name = "N")]
    pub threads: Option<usize>,
    /// Element type of the KV cache (default: f16)
    #[arg(long, value_name = "f16|f32|i8")]
    pub kv: Option<Kv>,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

impl Making {
    /// A program file with everything as the checkpoint has it.
    pub fn plain() -> Making {
        Making {
            format: Format { quantize: None, bits_per_weight: None, calibration: None, dtype: None },
            pte: true,
            so: false,
            hf_token: None,
        }
    }
}

impl Export {
    /// Everything as the checkpoint has it.
    pub fn plain(model: &str, output: &Path) -> Export {
        Export {
            model: model.to_string(),
            output: output.to_path_buf(),
            format: Format { quantize: None, bits_per_weight: None, calibration: None, dtype: None },
            params_path: None,
            tokenizer: None,
            chat_template: None,
            max_context: None,
            target: None,
            weights: Weights::Inside,
            print_ir_after: None,
            report: None,
            report_text: None,
            report_windows: REPORT_WINDOWS,
        }
    }
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// An artifact, a name of the catalog, or a checkpoint's directory or file
    pub model: String,
    /// Print the graph, after a pass if one is named (--ir=PASS; "frontend": before all of them)
    #[arg(long, value_name = "PASS", num_args = 0..=1, require_equals = true)]
    pub ir: Option<Option<String>>,
    /// Print a native artifact's machine code with the tensor ops it came from
    #[arg(long, conflicts_with = "ir")]
    pub disasm: bool,
    #[command(flatten)]
    pub format: Format,
    /// A JSON file that gives the shape where the checkpoint has none
    #[arg(long, value_name = "FILE")]
    pub params_path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Tokenizer {
    /// tokenizer.json, tokenizer.model, tekken.json, tokenizer.bin, or a checkpoint that has one
    pub file: PathBuf,
    /// The tokenizer file to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Synth {
    /// The model whose shape it gets
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(synth::shape_names().collect::<Vec<_>>()))]
    pub shape: String,
    /// The directory to write
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// The format of all weights
    #[arg(long, default_value = "bf16")]
    pub dtype: Dtype,
}

const IN_EVERY_SHELL: &str = "To have them in every new shell:
  tcc completions bash > ~/.local/share/bash-completion/completions/tcc
  tcc completions zsh > ~/.zfunc/_tcc        (with fpath+=~/.zfunc before compinit)
  tcc completions fish > ~/.config/fish/completions/tcc.fish
  tcc completions powershell >> $PROFILE";

#[derive(Debug, Args)]
#[command(after_long_help = IN_EVERY_SHELL)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
    /// The program whose commands they are
    #[arg(long, default_value = "tcc")]
    pub program: Program,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Program {
    Tcc,
    Tcrt,
}

impl Program {
    pub const ALL: [Program; 2] = [Program::Tcc, Program::Tcrt];

    pub fn name(self) -> &'static str {
        match self {
            Program::Tcc => "tcc",
            Program::Tcrt => "tcrt",
        }
    }
}

#[derive(Debug, Args)]
pub struct Manual {
    pub form: Form,
    pub folder: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Form {
    Markdown,
    Man,
    Completions,
}
