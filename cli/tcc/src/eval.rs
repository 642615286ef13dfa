//! `tcc eval`.

use std::time::Instant;

use serde_json::json;
use tcc_core::eval::{self, Estimate, EvalOptions, Report, Subject};
use tcc_core::recipe::Recipe;
use tcrt_cli::output::{Result, show};

use crate::args::Eval;
use crate::output::{line, size};
use crate::{interrupt, progress};

pub fn eval(args: &Eval) -> Result<()> {
    let begin = Instant::now();
    let recipe = args.format.recipe().map_err(line)?;
    let text = eval::read_text(&args.text).map_err(line)?;
    interrupt::listen().map_err(line)?;
    let subject = open(&args.model, (recipe != Recipe::default()).then_some(recipe))?;
    let base = args.base.as_deref().map(|base| open(base, None)).transpose()?;
    let text = eval::tokenize(&subject.model, &text).map_err(line)?;
    let options = EvalOptions { ctx: args.ctx, limit: args.limit, threads: args.threads.unwrap_or(0) };
    let bar = progress::count("evaluating");
    let report =
        eval::evaluate(&subject.model, base.as_ref().map(|base| &base.model), &text, &options, &|done, all| {
            progress::set(&bar, done, all);
            interrupt::check()
        });
    bar.finish_and_clear();
    let report = report.map_err(line)?;
    match args.json {
        true => show(format!("{}\n", as_json(args, &subject, &report))),
        false => show(as_text(args, &subject, &report, begin)),
    }
}

fn open(model: &str, recipe: Option<Recipe>) -> Result<Subject> {
    let path = progress::resolve(model, None)?;
    let bar = progress::bar("exporting");
    let subject = Subject::open(&path, recipe, &|done, total| {
        progress::set(&bar, done, total);
        interrupt::check()
    });
    bar.finish_and_clear();
    subject.map_err(line)
}

fn as_json(args: &Eval, subject: &Subject, report: &Report) -> serde_json::Value {
    let (bytes, bits) = subject.size();
    json!({ "model": args.model, "weight_bytes": bytes, "bits_per_weight": bits, "ctx": args.ctx, "report": report })
}

fn as_text(args: &Eval, subject: &Subject, report: &Report, begin: Instant) -> String {
    let (bytes, bits) = subject.size();
    let bits = bits.map_or(String::new(), |bits| format!(", {bits:.2} bits a weight"));
    let Report { windows, positions, perplexity, divergence } = report;
    let mut text = format!(
        "{}: {} of weights{bits}; {positions} tokens predicted in {windows} windows of {}, in {:.1} s\n",
        args.model,
        size(bytes),
        args.ctx,
        begin.elapsed().as_secs_f64()
    );
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
