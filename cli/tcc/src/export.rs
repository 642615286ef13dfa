//! `tcc export`.

use std::time::Instant;

use crate::args::{Export, Weights};
use tcc_core::eval::{EvalOptions, Subject};
use tcc_core::export::{ExportOptions, Report};
use tcc_core::quality::{DEFAULT_TEXT, DEFAULT_TEXT_NAME, NamedText, Page};
use tcc_core::{eval, export, hub, inspect, quality};
use tcrt_cli::interrupt::Watch;
use tcrt_cli::output::{Result, show};

use crate::output::{line, size, warn};
use crate::progress;

pub fn export(args: &Export) -> Result<()> {
    let begin = Instant::now();
    // Before the work, so that what cannot be added to costs none.
    let page = args.report.as_deref().map(Page::open).transpose().map_err(line)?;
    let text = args.report_text.as_deref().map(eval::read_text).transpose().map_err(line)?;
    let report = make(args)?;
    show(format!(
        "{}: {}, {} ({} of weights), {} instructions, in {:.1} s\n",
        args.output.display(),
        report.config.name,
        size(report.written.file_bytes),
        size(report.written.weight_bytes),
        report.instructions,
        begin.elapsed().as_secs_f64(),
    ))?;
    match page {
        Some(page) => measure(args, page, text.as_deref(), &report),
        None => Ok(()),
    }
}

/// Adds what the export did to the model to a page.
fn measure(args: &Export, mut page: Page, text: Option<&str>, report: &Report) -> Result<()> {
    let name = args.report_text.as_ref().and_then(|path| path.file_name()).unwrap_or(DEFAULT_TEXT_NAME.as_ref());
    let text = NamedText { name: &name.to_string_lossy(), text: text.unwrap_or(DEFAULT_TEXT) };
    let options = EvalOptions { limit: Some(args.report_windows), ..EvalOptions::default() };
    let watch = Watch::once().map_err(line)?;
    let base = base(args, &watch)?;
    let bar = progress::count("measuring");
    let quality = quality::measure(&args.output, &base, report, text, &options, &|done, all| {
        progress::set(&bar, done, all);
        watch.check()
    });
    bar.finish_and_clear();
    let quality = quality.map_err(line)?;
    page.add(&quality);
    page.write().map_err(line)?;
    let kld = quality.predictions.divergence.as_ref().map_or(0.0, |divergence| divergence.kld.value);
    let (perplexity, path) = (quality.predictions.perplexity.value, page.path().display());
    show(format!("{path}: perplexity {perplexity:.3}, mean KL divergence from the checkpoint {kld:.5}\n"))
}

/// The checkpoint as it is, to measure against.
fn base(args: &Export, watch: &Watch) -> Result<Subject> {
    let checkpoint = progress::resolve(&args.model, None)?;
    let bar = progress::bar("the base");
    let base = Subject::open(&checkpoint, None, None, args.params_path.clone(), &|done, total| {
        progress::set(&bar, done, total);
        watch.check()
    });
    bar.finish_and_clear();
    base.map_err(line)
}

/// Makes the artifact; what it lacks is said on stderr.
pub fn make(args: &Export) -> Result<Report> {
    let recipe = args.format.recipe().map_err(line)?;
    let pass = args.print_ir_after.as_deref();
    inspect::check_pass(pass).map_err(line)?;
    let model = progress::resolve(&args.model, None)?;
    let watch = Watch::once().map_err(line)?;
    let bar = progress::bar("exporting");
    let options = ExportOptions {
        name: hub::title(&args.model).map_err(line)?,
        recipe,
        calibration: args.format.calibration().map_err(line)?,
        params_path: args.params_path.clone(),
        tokenizer: args.tokenizer.clone(),
        chat_template: args.chat_template.clone(),
        max_positions: args.max_context,
        target: args.target,
        separate_weights: matches!(args.weights, Weights::Separate),
        after_pass: Some(&mut |name, graph| {
            if pass == Some(name) {
                // A pipe that closed must not stop the export.
                let _ = show(graph.to_string());
            }
        }),
        progress: &|done, total| {
            progress::set(&bar, done, total);
            watch.check()
        },
    };
    let exported = export::export(&model, &args.output, options);
    bar.finish_and_clear();
    let report = exported.map_err(line)?;
    report.warnings.iter().for_each(warn);
    Ok(report)
}
