//! Runs a verified program: one schedule that every thread follows, with barriers only where the program says.

mod bind;
mod progress;
mod team;

pub(crate) use bind::{Arena, bind};
pub(crate) use team::Team;
