//! Runs a verified program: one schedule that every thread follows, with barriers only where the program says.

mod bind;
mod crowd;
mod handout;
mod progress;
mod team;

pub(crate) use bind::{Arena, bind, choose};
pub(crate) use handout::{Handout, Round};
pub(crate) use team::{Schedule, Team, handout};
