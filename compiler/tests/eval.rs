//! Perplexity and divergence of a small model, against the same figures computed the plain way.

use std::ops::ControlFlow;
use std::path::PathBuf;

use tc_tests::fixtures;
use tcc_core::eval::{EvalOptions, Report, Subject, Text, evaluate, read_text, tokenize};
use tcc_core::recipe::Recipe;
use tcrt::{EngineOptions, Session};

const CTX: usize = 16;

fn open(recipe: Option<&str>) -> Subject {
    let recipe = recipe.map(|recipe| Recipe::from_json(recipe).unwrap());
    Subject::open(&fixtures::directory().join("hf"), recipe, &|_, _| ControlFlow::Continue(())).unwrap()
}

fn int8() -> Subject {
    open(Some(r#"{"linear:int8": {"groupsize": 32}}"#))
}

/// Three windows and some more, of tokens that the model has.
fn text(subject: &Subject) -> Text {
    let vocab = subject.model.info().vocab as u32;
    Text { tokens: (0..53).map(|i| (i * i * 7 + 3) % vocab).collect(), bos: Some(1) }
}

fn run(model: &Subject, base: Option<&Subject>) -> Report {
    let options = EvalOptions { ctx: CTX, limit: None, threads: 1 };
    let go_on = |_, _| ControlFlow::Continue(());
    evaluate(&model.model, base.map(|base| &base.model), &text(model), &options, &go_on).unwrap()
}

/// ln of the probabilities after every token of a window, token by token.
fn window(subject: &Subject, tokens: &[u32]) -> Vec<Vec<f64>> {
    let mut session = Session::new(subject.model.clone(), &EngineOptions::default()).unwrap();
    let softmax = |logits: &[f32]| {
        let all: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        logits.iter().map(|logit| (f64::from(*logit).exp() / all).ln()).collect()
    };
    tokens.iter().map(|token| softmax(session.decode(*token).unwrap())).collect()
}

/// For the second half of each window: ln of all probabilities, and the token that came.
fn plainly(subject: &Subject) -> Vec<(Vec<f64>, usize)> {
    let text = text(subject);
    let windows = text.tokens.chunks_exact(CTX).flat_map(|tokens| {
        let tokens = [&[1], &tokens[1..]].concat();
        let rows = window(subject, &tokens);
        (CTX / 2..CTX - 1).map(move |at| (rows[at].clone(), tokens[at + 1] as usize)).collect::<Vec<_>>()
    });
    windows.collect()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{found}, not {expected}");
}

#[test]
fn figures_are_those_computed_plainly() {
    let (model, base) = (int8(), open(None));
    let report = run(&model, Some(&base));
    let (q, p) = (plainly(&model), plainly(&base));
    let count = q.len() as f64;
    assert_eq!((report.windows, report.positions), (3, q.len()));
    let perplexity = |rows: &[(Vec<f64>, usize)]| (-rows.iter().map(|(ln, t)| ln[*t]).sum::<f64>() / count).exp();
    close(report.perplexity.value, perplexity(&q));
    let divergence = report.divergence.unwrap();
    close(divergence.base_perplexity.value, perplexity(&p));
    close(divergence.perplexity_ratio.value, perplexity(&q) / perplexity(&p));
    let pairs = || p.iter().zip(&q).flat_map(|((p, _), (q, _))| p.iter().zip(q));
    let kld = pairs().map(|(p, q)| p.exp() * (p - q)).sum::<f64>() / count;
    assert!(kld > 0.0 && (divergence.kld.value - kld).abs() < 0.01 * kld, "{} and {kld}", divergence.kld.value);
}

#[test]
fn a_model_does_not_diverge_from_itself() {
    let model = int8();
    let divergence = run(&model, Some(&model)).divergence.unwrap();
    assert_eq!((divergence.kld.value, divergence.max_kld), (0.0, 0.0));
    assert_eq!((divergence.top1.value, divergence.perplexity_ratio.value), (1.0, 1.0));
    assert_eq!(run(&model, None).perplexity, divergence.base_perplexity);
}

#[test]
fn limits_and_what_makes_no_sense() {
    let model = open(None);
    let evaluate = |options: EvalOptions, more: ControlFlow<()>| {
        let report = evaluate(&model.model, None, &text(&model), &options, &|_, _| more);
        report.map(|report| report.windows).map_err(|error| error.to_string())
    };
    let options = EvalOptions { ctx: CTX, limit: Some(2), threads: 1 };
    assert_eq!(evaluate(options, ControlFlow::Continue(())), Ok(2));
    assert!(evaluate(options, ControlFlow::Break(())).unwrap_err().contains("cancelled"));
    let long = EvalOptions { ctx: 1 << 20, ..options };
    assert!(evaluate(long, ControlFlow::Continue(())).unwrap_err().contains("fewer than one window"));
    assert!(tokenize(&model.model, "text").unwrap_err().to_string().contains("holds no tokenizer"));
    assert!(read_text(&PathBuf::from("no/such/text")).unwrap_err().to_string().starts_with("no/such/text: "));
}
