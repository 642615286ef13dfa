use crate::checkpoint::CheckpointError;
use crate::emit::EmitError;
use crate::export::CompileError;

#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Emit(#[from] EmitError),
    #[error("calibration: {0}")]
    Run(#[from] tcrt::Error),
    #[error("calibration: the text has {tokens} tokens, fewer than one window of {window}")]
    ShortText { tokens: usize, window: usize },
    #[error("calibration: the tokenizer gives token {token}, but the model has only {vocab}")]
    Token { token: u32, vocab: usize },
    #[error("the recipe's methods read a text, for which the model needs a tokenizer; give one with -z")]
    NoTokenizer,
    #[error("tensor {0}: its inputs on the calibration text are not finite numbers")]
    NotFinite(String),
    #[error("no formats take only {asked} bits a weight; those of this model take {least:.2} at least")]
    TooFewBits { asked: f64, least: f64 },
    #[error("tuning: the checkpoint has no tensor {0}")]
    Missing(String),
    #[error("cancelled")]
    Cancelled,
}
