//! Ctrl-C asks the work to stop, which then takes its temporary files away. A second one ends the process.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);
/// Whether there is work that looks at `ASKED`.
static LISTENING: AtomicBool = AtomicBool::new(false);
/// What a shell expects of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

pub fn listen() -> Result<(), ctrlc::Error> {
    LISTENING.store(true, Ordering::Relaxed);
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) || !LISTENING.load(Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    })
}

/// The work is over: from here on Ctrl-C ends the process at once.
pub fn done() {
    LISTENING.store(false, Ordering::Relaxed);
}

pub fn check() -> ControlFlow<()> {
    if ASKED.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
