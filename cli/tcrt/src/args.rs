//! What `tcrt` takes on its command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tc_kernels::table::Tier;
use tcrt::KvType;

#[derive(Parser)]
#[command(name = "tcrt", version, about = "Runs models exported by tcc", arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Continue a prompt, or answer it with --chat: text to stdout as it comes, figures to stderr
    Run(Run),
    /// Talk with a model, turn by turn
    Chat(Chat),
    /// Serve models over HTTP, with OpenAI's API and a page to talk with them
    #[command(disable_help_flag = true)]
    Serve(Passed),
    /// Measure prefill, decode, loading and memory
    Bench(Bench),
    /// What a file holds, and to the byte what a session will use
    Info(Info),
    /// The logits after some tokens
    Logits(Logits),
    /// Text to token ids, or back with --decode
    Tokenize(Tokenize),
}

#[derive(Args)]
pub struct Engine {
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Longest context in tokens [default: the model's, at most 8192]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Most tokens in one forward call
    #[arg(long, value_name = "N")]
    pub chunk: Option<usize>,
    /// Element type of the KV cache
    #[arg(long, value_name = "f16|f32|i8", default_value = "f16")]
    pub kv: Kv,
}

#[derive(Clone, Copy, Debug)]
pub struct Kv(pub KvType);

impl std::str::FromStr for Kv {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = KvType::ALL.into_iter().find(|known| known.name() == text);
        found.map(Kv).ok_or_else(|| "must be f16, f32 or i8".into())
    }
}

#[derive(Clone, Debug, Args)]
pub struct Sampling {
    /// Most tokens of a reply [default: 256; in a chat what the context has room for]
    #[arg(short = 'n', long = "max-new-tokens", value_name = "MAX")]
    pub max: Option<usize>,
    /// 0 is greedy
    #[arg(short, long, value_name = "TEMP", default_value_t = 0.8, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Nucleus: the most probable tokens that reach this share; 1 is off
    #[arg(short = 'p', long, value_name = "TOPP", default_value_t = 0.95, allow_negative_numbers = true)]
    pub top_p: f32,
    /// The K most probable tokens; 0 is off
    #[arg(short = 'k', long, value_name = "TOPK", default_value_t = 0)]
    pub top_k: usize,
    /// Tokens at least this share as probable as the best one; 0 is off
    #[arg(long, value_name = "MINP", default_value_t = 0.0, allow_negative_numbers = true)]
    pub min_p: f32,
    /// Divides the logits of tokens that stand in the text already; 1 is off
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    pub repetition_penalty: f32,
    /// Taken from their logits; 0 is off
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Taken from their logits once for each time that they stand there; 0 is off
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Seed [default: from the clock]
    #[arg(short, long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Added to a token's logit; may be given several times
    #[arg(long, value_name = "ID=BIAS", value_parser = logit_bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// The reply is JSON that this schema accepts
    #[arg(long, value_name = "JSON|FILE", conflicts_with = "grammar")]
    pub json_schema: Option<String>,
    /// The reply is what this grammar says, in GBNF
    #[arg(long, value_name = "TEXT|FILE")]
    pub grammar: Option<String>,
    /// Text that ends the answer; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

fn logit_bias(text: &str) -> Result<(u32, f32), String> {
    let pair = text.split_once('=').and_then(|(id, bias)| Some((id.parse().ok()?, bias.parse().ok()?)));
    pair.ok_or_else(|| "must be a token id, =, and a number".into())
}

#[derive(Args)]
pub struct Run {
    /// An exported model
    pub file: PathBuf,
    #[command(flatten)]
    pub ask: Ask,
}

#[derive(Args)]
pub struct Chat {
    /// An exported model
    pub file: PathBuf,
    #[command(flatten)]
    pub converse: Converse,
}

/// A conversation. Where standard input is no terminal, each of its lines is a message or a command, as if it were typed.
#[derive(Args)]
pub struct Converse {
    /// Go on with a conversation that /save wrote
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    #[command(flatten)]
    pub talk: Talk,
}

/// One prompt.
#[derive(Args)]
pub struct Ask {
    /// The prompt [default: standard input]
    #[arg(short = 'i', long = "prompt", value_name = "PROMPT")]
    pub prompt: Option<String>,
    /// Put the prompt to the model as a user's message, in its chat format
    #[arg(long)]
    pub chat: bool,
    /// Replies to the same prompt, one after another
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub num_samples: u64,
    #[command(flatten)]
    pub talk: Talk,
}

/// How a model is talked with.
#[derive(Args)]
pub struct Talk {
    /// Tokenizer that overrides the one in the file
    #[arg(short = 'z', value_name = "TOK")]
    pub tokenizer: Option<PathBuf>,
    /// System message, in a chat
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub sampling: Sampling,
    #[command(flatten)]
    pub guessing: Guessing,
    #[command(flatten)]
    pub engine: Engine,
}

/// Speculative decoding: the reply is the same, and comes sooner where guesses are right.
#[derive(Args)]
pub struct Guessing {
    /// Guess that the text repeats itself: for replies that quote or edit their prompt
    #[arg(long, conflicts_with = "draft")]
    pub lookup: bool,
    /// A smaller model of the same vocabulary that guesses
    #[arg(long, value_name = "FILE")]
    pub draft: Option<PathBuf>,
    /// Most tokens guessed at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub guesses: usize,
}

/// What `tcrt-serve` is given.
#[derive(Args)]
pub struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FILE|OPTION")]
    pub args: Vec<std::ffi::OsString>,
}

/// Serve models over HTTP, with OpenAI's API and a page to talk with them
#[derive(Parser)]
#[command(name = "tcrt serve", bin_name = "tcrt serve", version, arg_required_else_help = true)]
pub struct Serve {
    /// Exported models; each is served under its file's name
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub listen: Listen,
}

/// How models are served.
#[derive(Args)]
pub struct Listen {
    /// Address to listen at; 0.0.0.0 is every network this machine is in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// Port; 0 is any that is free
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub port: u16,
    /// Key that requests must bring; may be given several times [default: what TCRT_API_KEY holds]
    #[arg(long, value_name = "KEY")]
    pub api_key: Vec<String>,
    /// Site whose pages may ask, as https://example.org, or * for all; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub cors: Vec<String>,
    /// Replies that run at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_concurrency: u16,
    /// Replies that may wait; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_queue: u16,
    /// Most MB for ended conversations, kept for those that go on or begin alike; 0 keeps none
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    pub keep: u32,
    /// Seconds that a request may take; 0 is no limit
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Most MB of a request
    #[arg(long, value_name = "MB", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_body: u16,
    #[command(flatten)]
    pub engine: Engine,
}

#[derive(Args)]
pub struct Bench {
    /// The model; --bandwidth and --kernels do without
    pub file: Option<PathBuf>,
    /// Tokens of the prompt
    #[arg(short, value_name = "N", default_value_t = 128)]
    pub prompt: usize,
    /// Tokens to decode
    #[arg(short = 'n', value_name = "N", default_value_t = 64)]
    pub decode: usize,
    /// Repetitions; medians and spread are printed
    #[arg(short, value_name = "N", default_value_t = 5)]
    pub repeat: usize,
    /// Tokens that stand in the context before
    #[arg(short, value_name = "N", default_value_t = 0)]
    pub depth: usize,
    /// Sequences that decode together
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: usize,
    /// Use no kernels newer than these
    #[arg(long, value_name = "TIER")]
    pub isa: Option<Isa>,
    /// Read memory with all threads, and say what share of that decoding reaches
    #[arg(long, conflicts_with = "kernels")]
    pub bandwidth: bool,
    /// Each kernel alone, against the machine's limits, at the shapes of the model or at usual ones
    #[arg(long)]
    pub kernels: bool,
    /// Fail where a kernel's pick is more than 5 % slower than another variant that the CPU can run
    #[arg(long, requires = "kernels")]
    pub check: bool,
    /// Print the figures as JSON
    #[arg(long, conflicts_with = "kernels")]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
}

#[derive(Clone, Copy)]
pub struct Isa(pub Tier);

impl std::str::FromStr for Isa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Tier::ALL.iter().map(|tier| tier.name()).collect::<Vec<_>>().join(", ");
        Tier::from_name(text).map(Isa).ok_or_else(|| format!("must be one of {}", names()))
    }
}

#[derive(Args)]
pub struct Info {
    /// An exported model
    pub file: PathBuf,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
}

#[derive(Args)]
pub struct Logits {
    /// An exported model
    pub file: PathBuf,
    /// Token ids, with commas
    #[arg(long, value_name = "1,2,3", value_delimiter = ',', required = true)]
    pub tokens: Vec<u32>,
    /// After every token, not only the last
    #[arg(long)]
    pub all: bool,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
}

#[derive(Args)]
pub struct Tokenize {
    /// A model file, for the tokenizer in it
    #[arg(required_unless_present = "tokenizer")]
    pub file: Option<PathBuf>,
    /// A tokenizer file
    #[arg(short = 'z', value_name = "TOK", conflicts_with = "file")]
    pub tokenizer: Option<PathBuf>,
    /// The text, or with --decode the ids [default: standard input]
    #[arg(long, value_name = "T")]
    pub text: Option<String>,
    /// Token ids to text
    #[arg(long)]
    pub decode: bool,
    /// Recognise special tokens written in the text
    #[arg(long)]
    pub special: bool,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}
