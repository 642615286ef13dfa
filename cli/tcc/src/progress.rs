//! A bar with an estimate, on a terminal only.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use tcc_core::hub::catalog::Model;
use tcc_core::hub::{self, Event, Options};
use tcrt_cli::output::{Result, note};

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
pub fn resolve(model: &str, token: Option<String>) -> Result<PathBuf> {
    watched(token, |options| hub::resolve(model, options)).map_err(line)
}

pub fn fetch(model: &Model, token: Option<String>) -> Result<PathBuf> {
    try_fetch(model, token).map_err(line)
}

/// For a caller that knows what to do without it.
pub fn try_fetch(model: &Model, token: Option<String>) -> hub::Result<PathBuf> {
    watched(token, |options| hub::fetch(model, options))
}

fn watched(token: Option<String>, work: impl FnOnce(&Options) -> hub::Result<PathBuf>) -> hub::Result<PathBuf> {
    let bar = bar("fetching");
    let watch = |event| match event {
        Event::Expect(bytes) => bar.inc_length(bytes),
        Event::Got(bytes) => bar.inc(bytes),
        Event::Lost(bytes) => bar.dec(bytes),
        Event::Waiting => bar.suspend(|| note("another tcc fetches this model; waiting for it")),
    };
    let path = work(&Options { token, progress: &watch });
    bar.finish_and_clear();
    path
}
