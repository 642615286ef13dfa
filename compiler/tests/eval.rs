//! Perplexity, divergence and tasks of a small model, against the same figures computed the plain way.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::json;
use tc_tests::fixtures;
use tcc_core::eval::{
    EvalOptions, Figures, Report, Sample, Subject, TaskReport, Text, evaluate, read_text, run_tasks, task_files,
    tokenize,
};
use tcc_core::recipe::Recipe;
use tcc_core::synth::{Dtype, synth};
use tcrt::tokenizer::Special;
use tcrt::{EngineOptions, Session};

const CTX: usize = 16;

fn open(recipe: Option<&str>) -> Subject {
    let recipe = recipe.map(|recipe| Recipe::from_json(recipe).unwrap());
    Subject::open(&fixtures::directory().join("hf"), recipe, None, None, &|_, _| ControlFlow::Continue(())).unwrap()
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
    let options = EvalOptions { ctx: Some(CTX), limit: None, threads: 1, kv: None };
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
    let options = EvalOptions { ctx: Some(CTX), limit: Some(2), threads: 1, kv: None };
    assert_eq!(evaluate(options, ControlFlow::Continue(())), Ok(2));
    assert!(evaluate(options, ControlFlow::Break(())).unwrap_err().contains("cancelled"));
    let long = EvalOptions { ctx: Some(1 << 20), ..options };
    assert!(evaluate(long, ControlFlow::Continue(())).unwrap_err().contains("fewer than one window"));
    assert!(tokenize(&model.model, "text").unwrap_err().to_string().contains("holds no tokenizer"));
    assert!(read_text(&PathBuf::from("no/such/text")).unwrap_err().to_string().starts_with("no/such/text: "));
}

/// A model with a tokenizer.
fn tiny(folder: &Path) -> Subject {
    let directory = folder.join("tiny");
    synth("tiny", &directory, Dtype::F32, &|_, _| {}).unwrap();
    Subject::open(&directory, None, None, None, &|_, _| ControlFlow::Continue(())).unwrap()
}

fn tasks(subject: &Subject, list: &str, options: &EvalOptions) -> (Vec<TaskReport>, Vec<Sample>) {
    let mut samples = Vec::new();
    let files = task_files(list).unwrap();
    let go_on = |_, _| ControlFlow::Continue(());
    let reports = run_tasks(&subject.model, &files, options, &mut |sample| samples.push(sample), &go_on).unwrap();
    (reports, samples)
}

/// ln of the probability of a text after another, token by token.
fn log_likelihood(subject: &Subject, context: &str, continuation: &str) -> f64 {
    let tokenizer = subject.model.tokenizer().unwrap().unwrap();
    let encode = |text: &str| {
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        bos.into_iter().chain(tokenizer.encode(text, Special::Parse)).collect::<Vec<u32>>()
    };
    let (tokens, from) = (encode(&format!("{context}{continuation}")), encode(context).len());
    let rows = window(subject, &tokens);
    (from..tokens.len()).map(|at| rows[at - 1][tokens[at] as usize]).sum()
}

#[test]
fn choices_that_share_a_prompt_are_scored_as_each_alone() {
    let folder = tempfile::tempdir().unwrap();
    let subject = tiny(folder.path());
    let lines = [
        json!({"goal": "What is round?", "sol1": "A wheel is.", "sol2": "A box, which has corners and is rather long.", "label": 0}),
        json!({"goal": "How?", "sol1": "So", "sol2": "So it is", "label": 1}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.path().join("piqa.jsonl"), text).unwrap();
    let sentence = json!([{"sentence": "The _ was tall.", "option1": "tree", "option2": "grass blade", "answer": "1"}]);
    std::fs::write(folder.path().join("winogrande.json"), sentence.to_string()).unwrap();
    let (reports, samples) = tasks(&subject, folder.path().to_str().unwrap(), &EvalOptions::default());
    let mut right = [0.0; 2];
    for (sample, line) in samples.iter().zip(&lines) {
        let choices = ["sol1", "sol2"].map(|key| line[key].as_str().unwrap());
        let context = format!("Question: {}\nAnswer:", line["goal"].as_str().unwrap());
        let expected = choices.map(|choice| log_likelihood(&subject, &context, &format!(" {choice}")));
        sample.log_likelihoods.iter().zip(expected).for_each(|(found, expected)| close(*found, expected));
        let best = |by: [f64; 2]| usize::from(by[1] > by[0]);
        let lengths = choices.map(|choice| choice.chars().count() as f64);
        let gold = line["label"].as_u64().unwrap() as usize;
        right[0] += f64::from(u8::from(best(expected) == gold)) / 2.0;
        right[1] += f64::from(u8::from(best([expected[0] / lengths[0], expected[1] / lengths[1]]) == gold)) / 2.0;
    }
    let Figures::Choices { acc, acc_norm: Some(acc_norm) } = &reports[0].figures else { panic!("{reports:?}") };
    assert_eq!((reports[0].task.as_str(), reports[0].documents, [acc.value, acc_norm.value]), ("piqa", 2, right));
    let expected = ["tree", "grass blade"].map(|o| log_likelihood(&subject, &format!("The {o}"), " was tall."));
    samples[2].log_likelihoods.iter().zip(expected).for_each(|(found, expected)| close(*found, expected));
}

#[test]
fn rolling_windows_predict_every_token_of_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let subject = tiny(folder.path());
    let page = "It was about 3 @,@ 000 years ago , or so they say . ".repeat(2);
    std::fs::write(folder.path().join("wikitext.jsonl"), json!({"page": page}).to_string()).unwrap();
    let list = folder.path().join("wikitext.jsonl");
    let bits = |ctx| {
        let options = EvalOptions { ctx, ..EvalOptions::default() };
        let (reports, samples) = tasks(&subject, list.to_str().unwrap(), &options);
        let Figures::Rolling { word_perplexity, byte_perplexity, bits_per_byte } = reports[0].figures else { panic!() };
        let sum = -samples[0].log_likelihoods[0];
        close(bits_per_byte, sum / page.len() as f64 / 2f64.ln());
        close(byte_perplexity, (sum / page.len() as f64).exp());
        close(word_perplexity, (sum / 29.0).exp());
        sum
    };
    let tokenizer = subject.model.tokenizer().unwrap().unwrap();
    let text = "It was about 3,000 years ago, or so they say. ".repeat(2);
    let prefix = tokenizer.bos().or(tokenizer.eos());
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let tokens: Vec<u32> = prefix.into_iter().chain(bos).chain(tokenizer.encode(&text, Special::Parse)).collect();
    let rows = window(&subject, &tokens);
    close(bits(None), -(1..tokens.len()).map(|at| rows[at - 1][tokens[at] as usize]).sum::<f64>());
    // Shorter windows see less.
    assert!((bits(Some(8)) - bits(None)).abs() > 1e-3);
}
