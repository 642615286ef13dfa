//! `tcc eval`.

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use tcc_core::eval::{self, Estimate, EvalOptions, Figures, Report, Subject, TaskReport};
use tcc_core::files::write_atomically;
use tcc_core::recipe::Recipe;
use tcrt_cli::interrupt::Watch;
use tcrt_cli::output::{Result, show};

use crate::args::Eval;
use crate::output::{line, size};
use crate::progress;

pub fn eval(args: &Eval) -> Result<()> {
    let begin = Instant::now();
    let recipe = args.format.recipe().map_err(line)?;
    let recipe = (recipe != Recipe::default()).then_some(recipe);
    let watch = Watch::once().map_err(line)?;
    match (&args.tasks, &args.text) {
        (Some(tasks), _) => eval_tasks(args, tasks, recipe, begin, &watch),
        (None, Some(text)) => eval_text(args, text, recipe, begin, &watch),
        // clap asks for one of them.
        (None, None) => Err(line("give --text or --tasks")),
    }
}

fn options(args: &Eval) -> EvalOptions {
    EvalOptions { ctx: args.ctx, limit: args.limit, threads: args.threads.unwrap_or(0), kv: args.kv.map(|kv| kv.0) }
}

fn eval_text(args: &Eval, text: &Path, recipe: Option<Recipe>, begin: Instant, watch: &Watch) -> Result<()> {
    let text = eval::read_text(text).map_err(line)?;
    let subject = open(&args.model, recipe, args.format.calibration().map_err(line)?, watch)?;
    let base = args.base.as_deref().map(|base| open(base, None, None, watch)).transpose()?;
    let text = eval::tokenize(&subject.model, &text).map_err(line)?;
    let bar = progress::count("evaluating");
    let report =
        eval::evaluate(&subject.model, base.as_ref().map(|base| &base.model), &text, &options(args), &|done, all| {
            progress::set(&bar, done, all);
            watch.check()
        });
    bar.finish_and_clear();
    let report = report.map_err(line)?;
    match args.json {
        true => show(format!("{}\n", as_json(args, &subject, &report))),
        false => show(as_text(args, &subject, &report, begin)),
    }
}

fn eval_tasks(args: &Eval, tasks: &str, recipe: Option<Recipe>, begin: Instant, watch: &Watch) -> Result<()> {
    let tasks = eval::task_files(tasks).map_err(line)?;
    let subject = open(&args.model, recipe, args.format.calibration().map_err(line)?, watch)?;
    let mut samples = Vec::new();
    let bar = progress::count("evaluating");
    let reports =
        eval::run_tasks(&subject.model, &tasks, &options(args), &mut |sample| samples.push(sample), &|done, all| {
            progress::set(&bar, done, all);
            watch.check()
        });
    bar.finish_and_clear();
    let reports = reports.map_err(line)?;
    if let Some(path) = &args.samples {
        let lines: String = samples.iter().map(|sample| format!("{}\n", json!(sample))).collect();
        write_atomically(path, lines.as_bytes()).map_err(line)?;
    }
    let (bytes, bits) = subject.size();
    match args.json {
        true => show(format!(
            "{}\n",
            json!({ "model": args.model, "weight_bytes": bytes, "bits_per_weight": bits, "tasks": reports })
        )),
        false => show(tasks_as_text(args, &subject, &reports, begin)),
    }
}

fn tasks_as_text(args: &Eval, subject: &Subject, reports: &[TaskReport], begin: Instant) -> String {
    let documents: usize = reports.iter().map(|report| report.documents).sum();
    let mut text = heading(args, subject, &format!("{documents} documents"), begin);
    for TaskReport { task, documents, figures } in reports {
        let figures: Vec<(&str, String)> = match figures {
            Figures::Choices { acc, acc_norm } => {
                let acc_norm = acc_norm.map(|acc_norm| ("acc_norm", estimate(acc_norm, 4)));
                std::iter::once(("acc", estimate(*acc, 4))).chain(acc_norm).collect()
            }
            Figures::Rolling { word_perplexity, byte_perplexity, bits_per_byte } => vec![
                ("word_perplexity", format!("{word_perplexity:.4}")),
                ("byte_perplexity", format!("{byte_perplexity:.4}")),
                ("bits_per_byte", format!("{bits_per_byte:.4}")),
            ],
        };
        for (name, value) in figures {
            text += &format!("{task:<28}{documents:>6}  {name:<16}{value}\n");
        }
    }
    text
}

/// What was evaluated, on what, and how long it took.
fn heading(args: &Eval, subject: &Subject, what: &str, begin: Instant) -> String {
    let (bytes, bits) = subject.size();
    let bits = bits.map_or(String::new(), |bits| format!(", {bits:.2} bits a weight"));
    let seconds = begin.elapsed().as_secs_f64();
    format!("{}: {} of weights{bits}; {what}, in {seconds:.1} s\n", args.model, size(bytes))
}

fn open(model: &str, recipe: Option<Recipe>, calibration: Option<String>, watch: &Watch) -> Result<Subject> {
    let path = progress::resolve(model, None)?;
    let bar = progress::bar("exporting");
    let subject = Subject::open(&path, recipe, calibration, None, &|done, total| {
        progress::set(&bar, done, total);
        watch.check()
    });
    bar.finish_and_clear();
    subject.map_err(line)
}

fn as_json(args: &Eval, subject: &Subject, report: &Report) -> serde_json::Value {
    let (bytes, bits) = subject.size();
    json!({ "model": args.model, "weight_bytes": bytes, "bits_per_weight": bits, "ctx": report.ctx, "report": report })
}

fn as_text(args: &Eval, subject: &Subject, report: &Report, begin: Instant) -> String {
    let Report { windows, ctx, positions, perplexity, divergence } = report;
    let what = format!("{positions} tokens predicted in {windows} windows of {ctx}");
    let mut text = heading(args, subject, &what, begin);
    let mut line = |name: &str, value: String| text += &format!("{name:<18}{value}\n");
    line("perplexity", estimate(*perplexity, 4));
    if let Some(divergence) = divergence {
        let ratio = Estimate { value: divergence.perplexity_ratio.value - 1.0, ..divergence.perplexity_ratio };
        line("base perplexity", estimate(divergence.base_perplexity, 4));
        line("over the base", format!("{} %", estimate(ratio.times(100.0), 3)));
        line("mean KLD", estimate(divergence.kld, 6));
        let klds = [divergence.median_kld, divergence.kld_99, divergence.max_kld].map(|kld| format!("{kld:.6}"));
        line("median, 99 %, max", klds.join(", "));
        line("same top token", format!("{} %", estimate(divergence.top1.times(100.0), 2)));
    }
    text
}

fn estimate(Estimate { value, error }: Estimate, digits: usize) -> String {
    format!("{value:.digits$} ± {error:.digits$}")
}
