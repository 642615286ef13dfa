//! A model that is served: what the API needs to know of it, and its engine.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use tcrt::chat::ChatFormat;
use tcrt::tokenizer::Tokenizer;
use tcrt::{Error, Model, prompt};

use crate::engine::{self, Engine};
use crate::grammars::Grammars;
use crate::tools::Family;

pub struct Served {
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    pub tokenizer: Arc<Tokenizer>,
    pub chat: Option<ChatFormat>,
    pub stop_tokens: Vec<u32>,
    pub tools: Family,
    pub vocab: usize,
    /// Values of an embedding; 0: the artifact gives none.
    pub hidden: usize,
    pub context: usize,
    pub grammars: Grammars,
    pub engine: Engine,
}

impl Served {
    /// Engines that share `turn` run one after the other.
    pub fn new(id: String, model: Arc<Model>, options: &engine::Options, turn: Arc<Mutex<()>>) -> tcrt::Result<Served> {
        let tokenizer = model.tokenizer()?;
        let none = || Error::invalid_file(format!("{}: holds no tokenizer", model.name()));
        let tokenizer = Arc::new(tokenizer.ok_or_else(none)?);
        let chat = model.chat_format()?;
        let stop_tokens = prompt::stop_tokens(model.stop_tokens(), &tokenizer, chat.as_ref());
        let (vocab, hidden) = (model.info().vocab, model.info().hidden);
        let engine = Engine::start(model, Arc::clone(&tokenizer), options, turn)?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let tools = Family::of(&tokenizer, chat.as_ref());
        let (context, grammars) = (engine.context(), Grammars::default());
        Ok(Served { id, created, tokenizer, chat, stop_tokens, tools, vocab, hidden, context, grammars, engine })
    }
}
