//! A bar with an estimate, on a terminal only.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use tcrt_cli::output::Result;

use crate::output::line;

const STYLE: &str = "{msg:12} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

pub fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    match ProgressStyle::with_template(STYLE) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Bytes so far of all.
pub fn set(bar: &ProgressBar, done: u64, total: u64) {
    if bar.length() != Some(total) {
        bar.set_length(total);
    }
    bar.set_position(done);
}

/// A path of the checkpoint, which is fetched if it is only a name.
pub fn resolve(model: &str) -> Result<PathBuf> {
    let bar = bar("fetching");
    let path = tcc_core::hub::resolve(model, &|_, done, total| set(&bar, done, total.unwrap_or(done)));
    bar.finish_and_clear();
    path.map_err(line)
}
