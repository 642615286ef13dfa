//! The model that tcc carries inside, the trained one that is always at hand: what a random one cannot show. Its text is PyTorch's,
//! and kernels, quantizers, guesses and grammars are measured on language that it can predict.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tc_kernels::table::{Features, Tier};
use tcc_core::eval::{self, EvalOptions};
use tcrt::chat::{Message, Role};
use tcrt::grammar::Grammar;
use tcrt::sampling::SamplerOptions;
use tcrt::{
    Draft, DraftModel, EngineOptions, Finish, GenerateOptions, Generation, KvType, Lookup, Model, NoDraft, Session,
    prompt,
};

use crate::artifact;
use crate::greedy::{Prompt, check_prompt, check_reply, check_tokens, engine_options};

/// What `tests/goldens/make_stories_greedy.py` wrote.
#[derive(Deserialize)]
struct Expected {
    /// Of `stories.txt`.
    perplexity: f64,
    prompts: Vec<Prompt>,
}

fn expected() -> Expected {
    let path = tc_tests::golden::directory().join("stories_greedy.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn gguf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/stories/stories.gguf")
}

const EXACT: &str = r#"{"precision": {"dtype": "fp32"}}"#;
const STORED: &str = "{}";
const INT4: &str = r#"{"linear:int4": {"groupsize": 32}}"#;

/// The tiers that this CPU has.
fn tiers() -> impl Iterator<Item = Tier> {
    Tier::ALL.iter().copied().filter(|tier| Features::detect().has(tier.needs()))
}

#[test]
fn greedy_text_is_that_of_pytorch_in_every_encoding_and_tier() {
    let prompts = expected().prompts;
    // With exact weights and activations, all 96 tokens of the seven; with activations in int8, those that these leave no doubt of.
    for (recipe, kv_dtype, tolerance, compared) in [(EXACT, KvType::F32, 1e-3, 7 * 96), (STORED, KvType::F16, 0.3, 56)]
    {
        let program = artifact::model(&gguf(), None, recipe).unwrap();
        let native = artifact::native(&gguf(), recipe).unwrap();
        for model in [&program, &native] {
            for tier in tiers() {
                let options = EngineOptions { tier: Some(tier), ..engine_options(kv_dtype, prompts.len()) };
                assert_eq!(check_tokens(model, &prompts, &options, tolerance), compared, "{recipe}");
            }
        }
        prompts.iter().for_each(|prompt| check_prompt(&program, prompt));
        check_reply(&program, &prompts[3]);
    }
}

fn perplexity(recipe: &str) -> f64 {
    let model = artifact::model(&gguf(), None, recipe).unwrap();
    let text = std::fs::read_to_string(tc_tests::golden::directory().join("stories.txt")).unwrap();
    let text = eval::tokenize(&model, &text).unwrap();
    let go_on = |_, _| ControlFlow::Continue(());
    eval::evaluate(&model, None, &text, &EvalOptions::default(), &go_on).unwrap().perplexity.value
}

#[test]
fn quantizing_costs_what_it_should() {
    let exact = perplexity(EXACT);
    assert!((exact / expected().perplexity - 1.0).abs() < 1e-3, "f32: {exact}");
    // By how much a recipe may raise the perplexity, and by how much it must, so that it is known to be at work.
    let bounds = [
        (STORED, -0.002, 0.002),
        (r#"{"linear:int8": {"groupsize": 32}}"#, -0.003, 0.003),
        (INT4, 0.001, 0.10),
        (r#"{"linear:a8w4dq": {"groupsize": 32}}"#, 0.001, 0.10),
        (r#"{"linear:a8wxdq": {"bitwidth": 3, "groupsize": 32}}"#, 0.02, 1.0),
        (r#"{"precision": {"dtype": "bf16"}}"#, -0.01, 0.01),
    ];
    for (recipe, least, most) in bounds {
        let rise = perplexity(recipe) / exact - 1.0;
        assert!(least <= rise && rise <= most, "{recipe}: {rise:+.4}");
    }
}

/// A greedy reply, held to a grammar if there is one.
fn reply(model: &Arc<Model>, question: &str, grammar: Option<&str>, draft: &mut dyn Draft) -> Generation {
    let (tokenizer, format) = (model.tokenizer().unwrap().unwrap(), model.chat_format().unwrap().unwrap());
    let prompt = prompt::conversation(&tokenizer, &format, &[Message { role: Role::User, content: question }]).unwrap();
    let options = GenerateOptions {
        max_new: 300,
        sampling: SamplerOptions::greedy(),
        stop_tokens: prompt::stop_tokens(model.stop_tokens(), &tokenizer, Some(&format)),
        grammar: grammar.map(|text| Grammar::gbnf(text).unwrap()),
        ..GenerateOptions::default()
    };
    // A row for each guess, and one for what follows.
    let engine = EngineOptions { max_rows: 9, ..EngineOptions::default() };
    let mut session = Session::new(model.clone(), &engine).unwrap();
    session.generate_with(&prompt, Some(&tokenizer), &options, draft, |_| ControlFlow::Continue(())).unwrap()
}

fn text(model: &Model, generation: &Generation) -> String {
    String::from_utf8(model.tokenizer().unwrap().unwrap().decode(&generation.tokens)).unwrap()
}

#[test]
fn a_story_is_about_what_was_asked_for() {
    let model = artifact::model(&gguf(), None, STORED).unwrap();
    for (hero, thing) in [("fox", "lantern"), ("bear", "drum"), ("mouse", "blanket"), ("girl", "kite")] {
        let question = format!("Tell me a story about a {hero} and a {thing}.");
        let story = text(&model, &reply(&model, &question, None, &mut NoDraft));
        assert!(story.contains(hero) && story.contains(thing) && story.len() > 200, "{question} {story}");
    }
}

#[test]
fn guesses_change_nothing_and_a_draft_of_fewer_bits_guesses_well() {
    let model = artifact::model(&gguf(), None, STORED).unwrap();
    let question = "Tell me a story about a bear and a drum.";
    let plain = reply(&model, question, None, &mut NoDraft);
    let draft = artifact::model(&gguf(), None, INT4).unwrap();
    let mut draft = DraftModel::new(draft, &model, &EngineOptions::default(), 8).unwrap();
    let guessed = reply(&model, question, None, &mut draft);
    assert_eq!(guessed.tokens, plain.tokens);
    let (right, all) = (guessed.stats.accepted_tokens, plain.tokens.len());
    assert!(2 * right > all, "{right} of {all} tokens were guessed");
    let guessed = reply(&model, question, None, &mut Lookup::new(8));
    assert_eq!(guessed.tokens, plain.tokens);
    assert!(guessed.stats.accepted_tokens > 0);
}

#[test]
fn a_grammar_shapes_a_story_and_leaves_it_one() {
    let model = artifact::model(&gguf(), None, STORED).unwrap();
    let question = "Tell me a story about a bear and a drum.";
    let grammar = r#"root ::= "Far away, " [a-zA-Z, ]+ ".""#;
    let formed = reply(&model, question, Some(grammar), &mut NoDraft);
    let sentence = text(&model, &formed);
    assert!(sentence.starts_with("Far away, ") && sentence.find('.') == Some(sentence.len() - 1), "{sentence}");
    assert!(sentence.contains("bear"), "{sentence}");
    assert_eq!(formed.finish, Finish::Grammar);
    // What the model says of itself is no constraint to it: the same tokens.
    let free = reply(&model, question, None, &mut NoDraft);
    let any = reply(&model, question, Some("root ::= [^~]*"), &mut NoDraft);
    assert_eq!(any.tokens, free.tokens);
}
