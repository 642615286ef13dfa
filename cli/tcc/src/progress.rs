//! A bar with an estimate, on a terminal only.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use tcrt_cli::output::Result;

use crate::output::line;

const BYTES: &str = "{msg:12} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
const COUNTED: &str = "{msg:12} {wide_bar} {pos} of {len}, {eta} left";

/// Of bytes.
pub fn bar(what: &'static str) -> ProgressBar {
    styled(what, BYTES)
}

/// Of things.
pub fn count(what: &'static str) -> ProgressBar {
    styled(what, COUNTED)
}

fn styled(what: &'static str, style: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// So much of all.
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
