use super::status::{Outcome, call, tcrt_status};
use std::ffi::{CString, c_char, c_void};
use std::sync::RwLock;

/// A call failed; its message is what tcrt_last_error gives.
pub const TCRT_LOG_ERROR: u32 = 1;
/// Something was loaded or made.
pub const TCRT_LOG_INFO: u32 = 2;

/// Takes a line of the log. It is called on the thread whose call has something to say, must return normally, and may call any
/// function of this library. `message` is valid until it returns.
pub type tcrt_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: u32, message: *const c_char)>;

#[derive(Clone, Copy)]
struct Target {
    function: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    user: *mut c_void,
}

// SAFETY: the pointer is the caller's, who promises that it may be used on every thread that calls the library.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

static TARGET: RwLock<Option<Target>> = RwLock::new(None);

/// Sends the library's log to `function`; NULL, as at the beginning, to nobody. A call to the former function that another thread has
/// begun may still be under way when this returns. Thread-safe.
///
/// `user` is handed to the function, on whatever thread.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_set_log(function: tcrt_log_fn, user: *mut c_void) -> tcrt_status {
    call("tcrt_set_log", || -> Outcome {
        let target = function.map(|function| Target { function, user });
        *TARGET.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = target;
        Ok(())
    })
}

pub fn log(level: u32, message: &str) {
    // Copied, so that the lock is not held while the caller's code runs.
    let target = *TARGET.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(target) = target else { return };
    let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
    // SAFETY: the caller gave this function and this pointer for each other.
    unsafe { (target.function)(target.user, level, message.as_ptr()) };
}
