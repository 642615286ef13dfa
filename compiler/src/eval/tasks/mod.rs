//! The tasks of EleutherAI's lm-evaluation-harness, on documents in its JSON form: multiple choice by log-likelihood, and wikitext's
//! perplexity over rolling windows. Prompts, normalisation and windows are the harness's (0.4), without examples in the prompt.

mod documents;
mod likelihood;
mod prompts;
mod wikitext;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use tcrt::Model;

pub use documents::{TaskFile, task_files};

use super::score::{Estimate, Sum, likeliest};
use super::{EvalError, EvalOptions};
use documents::read;
use likelihood::{Encoder, Likelihood, Scorer};
use prompts::Question;

/// What a task asks, and in which form its documents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hellaswag,
    Arc,
    Piqa,
    Winogrande,
    Mmlu,
    Wikitext,
}

impl Kind {
    /// By the harness's name of the task; MMLU's subjects are tasks too.
    pub fn named(name: &str) -> Option<Kind> {
        match name {
            "hellaswag" => Some(Kind::Hellaswag),
            "arc_easy" | "arc_challenge" => Some(Kind::Arc),
            "piqa" => Some(Kind::Piqa),
            "winogrande" => Some(Kind::Winogrande),
            "wikitext" => Some(Kind::Wikitext),
            _ => (name == "mmlu" || name.starts_with("mmlu_")).then_some(Kind::Mmlu),
        }
    }

    /// The harness gives no normalised accuracy where it would change nothing.
    fn is_normalized(self) -> bool {
        matches!(self, Kind::Hellaswag | Kind::Arc | Kind::Piqa)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskReport {
    pub task: String,
    pub documents: usize,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figures {
    /// `acc_norm`: by log-likelihood over the length of the choice in characters.
    Choices {
        acc: Estimate,
        acc_norm: Option<Estimate>,
    },
    Rolling {
        word_perplexity: f64,
        byte_perplexity: f64,
        bits_per_byte: f64,
    },
}

/// What became of one document: its log-likelihoods, and the right choice of a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    pub task: String,
    pub document: usize,
    pub log_likelihoods: Vec<f64>,
    pub gold: Option<usize>,
}

/// Runs the tasks one after the other; `sample` is told each document's outcome, `progress` the documents done and all.
pub fn run_tasks(
    model: &Arc<Model>,
    tasks: &[TaskFile],
    options: &EvalOptions,
    sample: &mut dyn FnMut(Sample),
    progress: &dyn Fn(u64, u64) -> ControlFlow<()>,
) -> Result<Vec<TaskReport>, EvalError> {
    let encoder = Encoder::new(model, options)?;
    let documents: Vec<Vec<Map<String, Value>>> =
        tasks.iter().map(|task| read(task, options.limit)).collect::<Result<_, _>>()?;
    let all = documents.iter().map(Vec::len).sum::<usize>() as u64;
    let mut done = 0;
    let mut next = || {
        let more = progress(done, all);
        done += 1;
        if more.is_break() { Err(EvalError::Cancelled) } else { Ok(()) }
    };
    let mut run = Run { model, options, encoder, sample, next: &mut next };
    tasks.iter().zip(&documents).map(|(task, documents)| run.task(task, documents)).collect()
}

struct Run<'a> {
    model: &'a Arc<Model>,
    options: &'a EvalOptions,
    encoder: Encoder,
    sample: &'a mut dyn FnMut(Sample),
    next: &'a mut dyn FnMut() -> Result<(), EvalError>,
}

impl Run<'_> {
    fn task(&mut self, task: &TaskFile, documents: &[Map<String, Value>]) -> Result<TaskReport, EvalError> {
        let figures = match task.kind {
            Kind::Wikitext => self.rolling(task, documents),
            _ => self.choices(task, documents),
        }?;
        Ok(TaskReport { task: task.name.clone(), documents: documents.len(), figures })
    }

    fn choices(&mut self, task: &TaskFile, documents: &[Map<String, Value>]) -> Result<Figures, EvalError> {
        let questions = documents
            .iter()
            .enumerate()
            .map(|(at, document)| prompts::question(task.kind, document).map_err(|why| fault(&task.path, at, &why)));
        let questions: Vec<Question> = questions.collect::<Result<_, _>>()?;
        let requests = questions.iter().enumerate().map(|(at, question)| {
            let pairs = question.pairs.iter().map(|(context, choice)| self.encoder.pair(context, choice));
            pairs.collect::<Result<Vec<_>, String>>().map_err(|why| fault(&task.path, at, &why))
        });
        let requests: Vec<Vec<Likelihood>> = requests.collect::<Result<_, _>>()?;
        let mut scorer = Scorer::new(self.model, &requests, self.options)?;
        let (mut acc, mut acc_norm) = (Sum::default(), Sum::default());
        for (document, (question, requests)) in questions.iter().zip(&requests).enumerate() {
            (self.next)()?;
            let sums = scorer.score(requests)?;
            let normalized: Vec<f64> = sums.iter().zip(&question.lengths).map(|(sum, len)| sum / *len as f64).collect();
            let right = |sums: &[f64]| f64::from(u8::from(likeliest(sums) == question.gold));
            acc.add(right(&sums));
            acc_norm.add(right(&normalized));
            let gold = Some(question.gold);
            (self.sample)(Sample { task: task.name.clone(), document, log_likelihoods: sums, gold });
        }
        let acc_norm = task.kind.is_normalized().then(|| acc_norm.mean());
        Ok(Figures::Choices { acc: acc.mean(), acc_norm })
    }

    fn rolling(&mut self, task: &TaskFile, documents: &[Map<String, Value>]) -> Result<Figures, EvalError> {
        let (mut sum, mut words, mut bytes) = (0.0, 0, 0);
        for (at, page) in documents.iter().enumerate() {
            (self.next)()?;
            let page = prompts::text(page, "page").map_err(|why| fault(&task.path, at, &why))?;
            let windows = self.encoder.rolling(&wikitext::detokenized(page));
            // A page's windows have little in common; each is scored alone.
            let windows: Vec<Vec<Likelihood>> = windows.into_iter().map(|window| vec![window]).collect();
            let mut log_likelihood = 0.0;
            if !windows.is_empty() {
                let mut scorer = Scorer::new(self.model, &windows, self.options)?;
                for window in &windows {
                    log_likelihood += scorer.score(window)?.iter().sum::<f64>();
                }
            }
            (sum, words, bytes) = (sum + log_likelihood, words + wikitext::words(page), bytes + page.len());
            let (document, log_likelihoods) = (at, vec![log_likelihood]);
            (self.sample)(Sample { task: task.name.clone(), document, log_likelihoods, gold: None });
        }
        let per = |count: usize| -sum / count as f64;
        Ok(Figures::Rolling {
            word_perplexity: per(words).exp(),
            byte_perplexity: per(bytes).exp(),
            bits_per_byte: per(bytes) / std::f64::consts::LN_2,
        })
    }
}

fn fault(path: &std::path::Path, document: usize, why: &str) -> EvalError {
    EvalError::File { path: PathBuf::from(path), why: format!("document {}: {why}", document + 1) }
}
