//! `tcc export`.

use std::time::Instant;

use crate::args::{Export, Weights};
use tcc_core::export::{ExportOptions, Report};
use tcc_core::{export, inspect};
use tcrt_cli::interrupt::Watch;
use tcrt_cli::output::{Result, show};

use crate::output::{line, size, warn};
use crate::progress;

pub fn export(args: &Export) -> Result<()> {
    let begin = Instant::now();
    let report = make(args)?;
    show(format!(
        "{}: {}, {} ({} of weights), {} instructions, in {:.1} s\n",
        args.output.display(),
        report.config.name,
        size(report.written.file_bytes),
        size(report.written.weight_bytes),
        report.instructions,
        begin.elapsed().as_secs_f64(),
    ))
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
        recipe,
        calibration: args.format.calibration().map_err(line)?,
        params_path: args.params_path.clone(),
        tokenizer: args.tokenizer.clone(),
        chat_template: args.chat_template.clone(),
        max_positions: args.max_context,
        target: args.target,
        separate_weights: matches!(args.weights, Weights::Separate),
        after_pass: &mut |name, graph| {
            if pass == Some(name) {
                // A pipe that closed must not stop the export.
                let _ = show(graph.to_string());
            }
        },
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
