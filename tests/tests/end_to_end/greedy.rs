//! Greedy text of a model, held to what another program computed on the same weights, token for token.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use tcrt::chat::{Message, Role};
use tcrt::sampling::SamplerOptions;
use tcrt::{BatchToken, Engine, EngineOptions, Event, Finish, GenerateOptions, KvType, Model, SeqId, Session, prompt};

/// What the scripts `tests/goldens/make_*_greedy.py` wrote.
#[derive(Deserialize)]
pub struct Prompt {
    /// Of a chat; otherwise `text` is all there is.
    #[serde(default)]
    messages: Vec<ChatMessage>,
    text: String,
    pub ids: Vec<u32>,
    pub generated: Vec<u32>,
    /// By how much each was likelier than the next one, in logits.
    #[serde(default)]
    leads: Vec<f32>,
    decoded: String,
    /// The largest logits after the prompt, by token.
    first_logits: BTreeMap<u32, f32>,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: String,
}

fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as u32
}

/// Options of an engine with room for so many sequences.
pub fn engine_options(kv_dtype: KvType, sequences: usize) -> EngineOptions {
    EngineOptions {
        chunk: 256,
        max_rows: sequences,
        kv_dtype,
        context: 256,
        max_sequences: sequences,
        ..EngineOptions::default()
    }
}

impl Prompt {
    /// The tokens that must come out where logits may differ by so much: up to the first that two such differences could change.
    fn certain(&self, tolerance: f32) -> &[u32] {
        let doubtful = self.leads.iter().position(|lead| *lead <= 2.0 * tolerance);
        &self.generated[..doubtful.unwrap_or(self.generated.len())]
    }
}

/// Generates for all prompts at once, each call with one token of each, and compares; returns how many tokens were compared.
pub fn check_tokens(model: &Arc<Model>, prompts: &[Prompt], options: &EngineOptions, tolerance: f32) -> usize {
    let mut engine = Engine::new(model.clone(), options).unwrap();
    let ids: Vec<SeqId> = prompts.iter().map(|_| engine.add_sequence().unwrap()).collect();
    let mut given: Vec<Vec<u32>> = prompts.iter().map(|p| p.ids.clone()).collect();
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
    for step in 0..prompts[0].generated.len() {
        let batch = ids.iter().zip(&given).flat_map(|(&sequence, tokens)| {
            let last = tokens.len() - 1;
            let token = move |(i, &token): (usize, &u32)| BatchToken { sequence, token, want_logits: i == last };
            tokens.iter().enumerate().map(token)
        });
        let logits = engine.forward(&batch.collect::<Vec<_>>()).unwrap();
        for (i, prompt) in prompts.iter().enumerate() {
            let row = logits.row(i);
            for (token, expected) in prompt.first_logits.iter().filter(|_| step == 0) {
                let difference = (row[*token as usize] - expected).abs();
                assert!(difference <= tolerance, "prompt {i}, token {token}: the logit differs by {difference}");
            }
            given[i] = vec![argmax(row)];
            found[i].extend(&given[i]);
        }
    }
    for (i, prompt) in prompts.iter().enumerate() {
        let certain = prompt.certain(tolerance);
        assert_eq!(found[i][..certain.len()], *certain, "prompt {i}");
    }
    prompts.iter().map(|prompt| prompt.certain(tolerance).len()).sum()
}

/// The tokenizer and the chat format inside the artifact give the prompt's tokens.
pub fn check_prompt(model: &Model, expected: &Prompt) {
    let tokenizer = model.tokenizer().unwrap().unwrap();
    let found = if expected.messages.is_empty() {
        prompt::plain(&tokenizer, &expected.text)
    } else {
        let role = |name: &str| match name {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        let messages = expected.messages.iter().map(|m| Message { role: role(&m.role), content: &m.content });
        let messages: Vec<_> = messages.collect();
        prompt::conversation(&tokenizer, &model.chat_format().unwrap().unwrap(), &messages).unwrap()
    };
    assert_eq!(found, expected.ids, "{:?}", expected.text);
    assert_eq!(tokenizer.decode_with(&expected.generated, false), expected.decoded.as_bytes());
}

/// A session streams the reply's text up to the token that ends it.
pub fn check_reply(model: &Arc<Model>, expected: &Prompt) {
    let tokenizer = model.tokenizer().unwrap().unwrap();
    let format = model.chat_format().unwrap().unwrap();
    let stop_tokens = prompt::stop_tokens(model.stop_tokens(), &tokenizer, Some(&format));
    let end = expected.generated.iter().position(|token| stop_tokens.contains(token));
    let options = GenerateOptions {
        max_new: expected.generated.len(),
        sampling: SamplerOptions::greedy(),
        stop_tokens,
        ..GenerateOptions::default()
    };
    let mut session = Session::new(model.clone(), &engine_options(KvType::F16, 1)).unwrap();
    let mut text = String::new();
    let generation = session.generate(&expected.ids, Some(&tokenizer), &options, |event| {
        if let Event::Text(more) = event {
            text.push_str(more);
        }
        ControlFlow::Continue(())
    });
    let generation = generation.unwrap();
    let tokens = &expected.generated[..end.unwrap_or(expected.generated.len())];
    assert_eq!(generation.tokens, tokens);
    assert_eq!(text.as_bytes(), tokenizer.decode_with(tokens, true));
    match end {
        Some(end) => assert_eq!(generation.finish, Finish::StopToken(expected.generated[end])),
        None => assert_eq!(generation.finish, Finish::Length),
    }
}
