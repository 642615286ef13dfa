//! What an artifact knows of text: its tokenizer, its chat format, and the tokens that end a text.

use std::io::Read;
use std::path::Path;

use tcrt::chat::ChatFormat;
use tcrt::tokenizer::Tokenizer;

use super::{ExportError, Warning};
use crate::chat::{self, Specials};
use crate::checkpoint::{self, Checkpoint, OpenOptions, VocabularySource};
use crate::tokenizer::{self, TokenizerError, TokenizerFile};

#[derive(Debug, Default)]
pub struct Text {
    pub tokenizer: Vec<u8>,
    pub chat: Vec<u8>,
    pub stop_tokens: Vec<u32>,
    pub warnings: Vec<Warning>,
}

pub fn prepare(
    checkpoint: &Checkpoint,
    tokenizer: Option<&Path>,
    chat_template: Option<&str>,
) -> Result<Text, ExportError> {
    let mut text = Text { stop_tokens: checkpoint.config.stop_tokens.clone(), ..Text::default() };
    match import(checkpoint, tokenizer)? {
        Ok(file) => text.add_tokenizer(file, checkpoint, chat_template)?,
        Err(why) => text.warnings.push(Warning::NoTokenizer(why)),
    }
    Ok(text)
}

/// The inner error says why there is none.
fn import(checkpoint: &Checkpoint, path: Option<&Path>) -> Result<Result<TokenizerFile, String>, ExportError> {
    let file = match (path, &checkpoint.vocabulary) {
        (Some(path), _) => import_tokenizer(path)?,
        (None, VocabularySource::Gguf(vocabulary)) => tokenizer::import_gguf(vocabulary)?,
        (None, VocabularySource::Files(directory)) => match tokenizer::import_dir(directory) {
            Err(error @ TokenizerError::Absent { .. }) => return Ok(Err(error.to_string())),
            imported => imported?,
        },
        (None, VocabularySource::None) => return Ok(Err("the checkpoint has none".to_string())),
    };
    Ok(Ok(file))
}

/// The tokenizer of a file, or of a checkpoint.
pub fn import_tokenizer(path: &Path) -> Result<TokenizerFile, ExportError> {
    if path.is_dir() {
        return Ok(tokenizer::import_dir(path)?);
    }
    if !is_gguf(path) {
        return Ok(tokenizer::import_file(path)?);
    }
    match checkpoint::open(path, &OpenOptions::default())?.vocabulary {
        VocabularySource::Gguf(vocabulary) => Ok(tokenizer::import_gguf(&vocabulary)?),
        VocabularySource::Files(_) | VocabularySource::None => {
            Err(ExportError::NoVocabulary(path.display().to_string()))
        }
    }
}

fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"GGUF"
}

impl Text {
    fn add_tokenizer(
        &mut self,
        file: TokenizerFile,
        checkpoint: &Checkpoint,
        chat_template: Option<&str>,
    ) -> Result<(), ExportError> {
        let tokenizer = Tokenizer::from_bytes(&file.bytes).map_err(ExportError::TokenizerBytes)?;
        let (known, model) = (tokenizer.vocab_size(), checkpoint.config.vocab);
        if known > model {
            self.warnings.push(Warning::LargeVocabulary { tokenizer: known, model });
        }
        self.tokenizer = file.bytes;
        self.add_stop_tokens(tokenizer.eos(), model);
        let specials = Vocabulary::new(&tokenizer);
        match chat_format(checkpoint, chat_template, &specials.names())? {
            Ok(format) => {
                let stops = format.stop_token_texts().iter();
                self.add_stop_tokens(stops.filter_map(|text| tokenizer.token_id(text.as_bytes())), model);
                self.chat = format.to_bytes();
            }
            Err(why) => self.warnings.push(Warning::NoChatFormat(why)),
        }
        Ok(())
    }

    fn add_stop_tokens(&mut self, tokens: impl IntoIterator<Item = u32>, vocab: usize) {
        for token in tokens {
            if (token as usize) < vocab && !self.stop_tokens.contains(&token) {
                self.stop_tokens.push(token);
            }
        }
    }
}

/// A format that was asked for must be there; one that only the checkpoint brings may fail, and the inner error says why.
fn chat_format(
    checkpoint: &Checkpoint,
    asked: Option<&str>,
    specials: &Specials,
) -> Result<Result<ChatFormat, String>, ExportError> {
    if let Some(asked) = asked {
        if let Some(family) = chat::Family::named(asked) {
            return Ok(Ok(chat::builtin(family, specials)));
        }
        let template = std::fs::read_to_string(asked).map_err(|error| no_such_template(asked, error))?;
        return Ok(Ok(chat::lower(&template, specials)?));
    }
    Ok(match &checkpoint.chat_template {
        Some(template) => chat::lower(template, specials).map_err(|error| error.to_string()),
        None => Err(format!("the checkpoint has no template; --chat-template takes a file or one of {}", builtins())),
    })
}

fn no_such_template(asked: &str, error: std::io::Error) -> ExportError {
    ExportError::NoSuchTemplate(asked.to_string(), error, builtins())
}

fn builtins() -> String {
    chat::Family::ALL.map(|(name, _)| name).join(", ")
}

/// The texts of a tokenizer's special tokens.
struct Vocabulary {
    bos: Option<String>,
    eos: Option<String>,
    tokens: Vec<String>,
}

impl Vocabulary {
    fn new(tokenizer: &Tokenizer) -> Self {
        let text = |id: u32| tokenizer.token_bytes(id).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let special = (0..tokenizer.vocab_size() as u32).filter(|id| tokenizer.is_special(*id));
        Self {
            bos: tokenizer.bos().and_then(text),
            eos: tokenizer.eos().and_then(text),
            tokens: special.filter_map(text).collect(),
        }
    }

    fn names(&self) -> Specials<'_> {
        Specials {
            bos: self.bos.as_deref(),
            eos: self.eos.as_deref(),
            tokens: self.tokens.iter().map(String::as_str).collect(),
        }
    }
}
