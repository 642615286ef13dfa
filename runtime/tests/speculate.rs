//! Whatever a draft guesses, the reply is the one that comes without it.

mod support;

use std::ops::ControlFlow;
use std::sync::Arc;
use support::toy::{SHAPE, Shape, Toy};
use tcrt::sampling::{Rng, SamplerOptions};
use tcrt::{
    Draft, DraftModel, EngineOptions, Finish, GenerateOptions, Generation, KvType, Lookup, Model, NoDraft, Result,
    Session,
};

const VOCAB: usize = 24;
const CONTEXT: usize = 64;

fn toy() -> Arc<Model> {
    Model::from_bytes(&Toy::new(Shape { vocab: VOCAB, ..SHAPE }).file(), "toy").unwrap()
}

fn options(max_rows: usize) -> EngineOptions {
    let context = CONTEXT;
    EngineOptions { threads: 1, chunk: 16, kv_dtype: KvType::F32, context, max_rows, ..EngineOptions::default() }
}

fn session(model: &Arc<Model>) -> Session {
    Session::new(Arc::clone(model), &options(6)).unwrap()
}

fn reply(model: &Arc<Model>, options: &GenerateOptions, draft: &mut dyn Draft) -> (Generation, Vec<u32>) {
    let mut session = session(model);
    let prompt: Vec<u32> = (0..20).map(|i| i * 5 % VOCAB as u32).collect();
    let generation = session.generate_with(&prompt, None, options, draft, |_| ControlFlow::Continue(())).unwrap();
    (generation, session.tokens().to_vec())
}

/// Knows the reply, and now and then lies.
struct Oracle {
    text: Vec<u32>,
    truth: f64,
    rng: Rng,
}

impl Draft for Oracle {
    fn guess(&mut self, history: &[u32], most: usize, guesses: &mut Vec<u32>) -> Result<()> {
        for token in self.text[history.len().min(self.text.len())..].iter().take(most) {
            let lie = self.rng.unit() >= self.truth;
            guesses.push(if lie { (token + 1) % VOCAB as u32 } else { *token });
        }
        Ok(())
    }

    fn learn(&mut self, guessed: usize, right: usize) {
        assert!(right <= guessed);
    }
}

fn cases() -> Vec<GenerateOptions> {
    let sampled = |seed| SamplerOptions { seed, temperature: 1.3, top_k: 12, ..SamplerOptions::default() };
    let penalized = SamplerOptions { repetition_penalty: 1.4, frequency_penalty: 0.2, ..sampled(5) };
    let mut cases = Vec::new();
    for sampling in [SamplerOptions::greedy(), sampled(1), sampled(2), penalized] {
        // Short ones, and one that fills the context.
        for max_new in [1, 2, 7, 30, usize::MAX] {
            cases.push(GenerateOptions { max_new, sampling: sampling.clone(), ..GenerateOptions::default() });
        }
        cases.push(GenerateOptions { stop_tokens: vec![3, 11], sampling, ..GenerateOptions::default() });
    }
    cases
}

#[test]
fn a_reply_does_not_depend_on_the_draft() {
    let model = toy();
    let mut finishes = Vec::new();
    for (i, options) in cases().iter().enumerate() {
        let (plain, held) = reply(&model, options, &mut NoDraft);
        let text: Vec<u32> = (0..20).map(|i| i * 5 % VOCAB as u32).chain(plain.tokens.iter().copied()).collect();
        let mut drafts: Vec<Box<dyn Draft>> = vec![
            Box::new(Lookup::new(5)),
            Box::new(DraftModel::new(Arc::clone(&model), &model, &self::options(1), 4).unwrap()),
        ];
        for (seed, truth) in [(1, 1.0), (2, 0.7), (3, 0.3), (4, 0.0)] {
            drafts.push(Box::new(Oracle { text: text.clone(), truth, rng: Rng::new(seed) }));
        }
        for (j, draft) in drafts.iter_mut().enumerate() {
            let (drafted, drafted_held) = reply(&model, options, draft.as_mut());
            assert_eq!((&drafted.tokens, drafted.finish), (&plain.tokens, plain.finish), "case {i}, draft {j}");
            // What the session holds is a beginning of the text, with nothing wrong in it.
            assert_eq!(drafted_held, held, "case {i}, draft {j}");
            assert!(drafted.stats.accepted_tokens <= drafted.stats.drafted_tokens);
        }
        finishes.push(plain.finish);
    }
    for finish in [Finish::Length, Finish::Context] {
        assert!(finishes.contains(&finish), "no case ends with {finish:?}");
    }
    assert!(finishes.iter().any(|finish| matches!(finish, Finish::StopToken(_))));
}

#[test]
fn right_guesses_save_calls() {
    let model = toy();
    let options = GenerateOptions { max_new: 31, sampling: SamplerOptions::greedy(), ..GenerateOptions::default() };
    let mut same = DraftModel::new(Arc::clone(&model), &model, &self::options(1), 5).unwrap();
    let (drafted, _) = reply(&model, &options, &mut same);
    let stats = drafted.stats;
    // A model that drafts for itself is never wrong.
    assert_eq!(stats.accepted_tokens, stats.drafted_tokens);
    assert!(stats.accepted_tokens >= 20, "{stats:?}");
}

#[test]
fn a_draft_of_another_vocabulary_is_refused() {
    let (model, other) = (toy(), Model::from_bytes(&Toy::new(SHAPE).file(), "other").unwrap());
    let refused = DraftModel::new(other, &model, &options(1), 4).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("vocabulary") && refused.contains("other"), "{refused}");
}
