//! The model as a whole, forwards and backwards: what is at stake at each position of a text, and tuning what was quantized.
//!
//! Layers come one at a time, and do their work a second time on the way back, so that what a text is between layers is all that is kept.
//! Windows are worked on side by side, each on one core: results are the same each time.

mod attention;
mod factors;
mod head;
mod layer;
mod model;
mod ops;
mod stakes;
#[cfg(test)]
mod tests;
mod tune;

pub use stakes::Stakes;
pub use tune::tune;

use super::calibrated::Job;
use crate::config::RopeScaling;

/// Why a model cannot go backwards, if it cannot.
pub fn obstacle(job: &Job) -> Option<&'static str> {
    let window = job.windows.and_then(|windows| windows.first()).map_or(0, Vec::len);
    match job.config.rope.scaling {
        RopeScaling::Dynamic { original, .. } if window > original => {
            Some("its positions are scaled by the text's length")
        }
        _ => None,
    }
}
