use super::log::{self, TCRT_LOG_ERROR};
use crate::{Error, ErrorKind};
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Version of this interface: the `version` of every structure.
pub const TCRT_ABI_VERSION: u32 = 1;

/// What a call came to. The numbers never change; later versions may add some.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tcrt_status {
    TCRT_OK = 0,
    /// The operating system refused: a file is missing, unreadable, the disk is full.
    TCRT_IO = 1,
    /// A file is not what it should be: truncated, damaged, inconsistent.
    TCRT_INVALID_FILE = 2,
    /// A file or a caller asks for something this library does not have.
    TCRT_UNSUPPORTED = 3,
    /// An argument makes no sense.
    TCRT_INVALID_ARGUMENT = 4,
    /// A limit is exceeded: context, memory, sequences.
    TCRT_LIMIT_EXCEEDED = 5,
    /// The model gave numbers that are not finite.
    TCRT_NOT_FINITE = 6,
    /// tcrt_session_cancel ended the call.
    TCRT_CANCELLED = 7,
    /// A fault of this library.
    TCRT_INTERNAL = 8,
    /// A handle was freed, never made, or is one of another type.
    TCRT_INVALID_HANDLE = 9,
    /// Another call is using this session or sampler; a callback's own session counts.
    TCRT_BUSY = 10,
    /// The caller's buffer is too small; the size it needs was written.
    TCRT_BUFFER_TOO_SMALL = 11,
}

use tcrt_status::*;

/// Why a call failed.
pub struct Failure {
    pub status: tcrt_status,
    pub message: String,
}

pub type Outcome<T = ()> = Result<T, Failure>;

pub fn fail<T>(status: tcrt_status, message: impl Into<String>) -> Outcome<T> {
    Err(Failure { status, message: message.into() })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match error.kind {
            ErrorKind::Io => TCRT_IO,
            ErrorKind::InvalidFile => TCRT_INVALID_FILE,
            ErrorKind::Unsupported => TCRT_UNSUPPORTED,
            ErrorKind::InvalidArgument => TCRT_INVALID_ARGUMENT,
            ErrorKind::LimitExceeded => TCRT_LIMIT_EXCEEDED,
            ErrorKind::NotFinite => TCRT_NOT_FINITE,
            ErrorKind::Cancelled => TCRT_CANCELLED,
            ErrorKind::Internal => TCRT_INTERNAL,
        };
        Failure { status, message: error.to_string() }
    }
}

/// A thread's last failure.
struct Last {
    status: tcrt_status,
    message: CString,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::new(Last { status: TCRT_OK, message: CString::default() });
}

/// Runs the body of the function `name`: an error becomes its code, and so does a panic.
pub fn call(name: &str, body: impl FnOnce() -> Outcome) -> tcrt_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => TCRT_OK,
        Ok(Err(failure)) => report(name, failure),
        Err(panic) => report(name, Failure { status: TCRT_INTERNAL, message: panic_message(panic.as_ref()) }),
    }
}

fn report(name: &str, failure: Failure) -> tcrt_status {
    let message = format!("{name}: {}", failure.message).replace('\0', "\u{fffd}");
    log::log(TCRT_LOG_ERROR, &message);
    let message = CString::new(message).unwrap_or_default();
    // A thread that is ending has no last error any more, and no one to ask for it.
    let _ = LAST.try_with(|last| last.replace(Last { status: failure.status, message }));
    failure.status
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a fault of the library: {}", text.unwrap_or("a panic without a message"))
}

/// The message of this thread's last failed call; an empty text where none failed. Valid until this thread's next failed call.
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().message.as_ptr()).unwrap_or(c"".as_ptr())
}

/// The code of this thread's last failed call; TCRT_OK where none failed. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_last_status() -> tcrt_status {
    LAST.try_with(|last| last.borrow().status).unwrap_or(TCRT_OK)
}

/// A code's name, such as "TCRT_IO"; "unknown" for a number that is no code of this version. Never NULL, valid forever.
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_status_name(status: i32) -> *const c_char {
    name(status).as_ptr()
}

fn name(status: i32) -> &'static CStr {
    const NAMES: [&CStr; 12] = [
        c"TCRT_OK",
        c"TCRT_IO",
        c"TCRT_INVALID_FILE",
        c"TCRT_UNSUPPORTED",
        c"TCRT_INVALID_ARGUMENT",
        c"TCRT_LIMIT_EXCEEDED",
        c"TCRT_NOT_FINITE",
        c"TCRT_CANCELLED",
        c"TCRT_INTERNAL",
        c"TCRT_INVALID_HANDLE",
        c"TCRT_BUSY",
        c"TCRT_BUFFER_TOO_SMALL",
    ];
    usize::try_from(status).ok().and_then(|status| NAMES.get(status).copied()).unwrap_or(c"unknown")
}

/// The library's version, such as "0.1.0". Valid forever. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// TCRT_ABI_VERSION of the library, as against that of the header. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn tcrt_abi_version() -> u32 {
    TCRT_ABI_VERSION
}
