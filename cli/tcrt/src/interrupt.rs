//! Ctrl-C, for work that has something to finish: it asks, and the work stops where it may. Everything else it ends, as usual.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Whether each of the signals ends the process, as it does where nobody listens. Registered before anything else, so that this is
/// decided before the same signal changes it.
static ENDS: LazyLock<io::Result<[Arc<AtomicBool>; 2]>> = LazyLock::new(|| {
    let ends = SIGNALS.map(|_| Arc::new(AtomicBool::new(true)));
    for (signal, ends) in SIGNALS.iter().zip(&ends) {
        flag::register_conditional_default(*signal, Arc::clone(ends))?;
    }
    Ok(ends)
});

/// While it lives, signals ask instead of ending the process. Of several, the last one begun must be the first to end.
pub struct Watch {
    asked: Arc<AtomicBool>,
    /// What it turned off, and what that was before.
    ends: Vec<(Arc<AtomicBool>, bool)>,
    actions: Vec<SigId>,
}

impl Watch {
    /// For work that must leave nothing half done: the first signal asks, a second one ends the process.
    pub fn once() -> io::Result<Watch> {
        let mut watch = Watch::of(&SIGNALS)?;
        for (signal, (ends, _)) in SIGNALS.iter().zip(&watch.ends) {
            watch.actions.push(flag::register(*signal, Arc::clone(ends))?);
        }
        Ok(watch)
    }

    /// For an answer: Ctrl-C asks, however often.
    pub fn interrupts() -> io::Result<Watch> {
        Watch::of(&SIGNALS[..1])
    }

    fn of(signals: &[i32]) -> io::Result<Watch> {
        let all = ENDS.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        let asked = Arc::new(AtomicBool::new(false));
        let register = |signal: &i32| flag::register(*signal, Arc::clone(&asked));
        let actions = signals.iter().map(register).collect::<io::Result<_>>()?;
        let turn_off = |ends: &Arc<AtomicBool>| (Arc::clone(ends), ends.swap(false, Ordering::Relaxed));
        let ends = all.iter().take(signals.len()).map(turn_off).collect();
        Ok(Watch { asked, ends, actions })
    }

    /// Set by the signal.
    pub fn asked(&self) -> &Arc<AtomicBool> {
        &self.asked
    }

    pub fn check(&self) -> ControlFlow<()> {
        if self.asked.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for action in &self.actions {
            low_level::unregister(*action);
        }
        self.ends.iter().for_each(|(ends, before)| ends.store(*before, Ordering::Relaxed));
    }
}
