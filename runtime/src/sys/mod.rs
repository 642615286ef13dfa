//! What the operating system gives: mapped files, reserved memory, threads to run kernels on, figures about the process.
//! The only place of the runtime where `unsafe` lives, apart from the C boundary; everything it exports is safe to call.

#![allow(
    unsafe_code,
    reason = "system calls and raw memory end here; each use states the invariant that makes it sound"
)]

mod affinity;
mod libc;
mod library;
mod mapping;
mod memory;
mod native;
mod process;
mod sealed;
mod step;
mod whole_file;

pub(crate) use affinity::{allowed, current, stay_on};
pub(crate) use library::Library;
pub use mapping::Mapping;
pub use memory::Memory;
pub(crate) use native::Bound;
pub use process::{default_threads, peak_rss_bytes};
pub(crate) use sealed::SealedFile;
pub(crate) use step::{Args, SharedCall, Step};
pub use whole_file::write_whole;

// Sizes that the verifier has bounded below 2^48 are held in `usize`.
const _: () = assert!(usize::BITS >= 64, "tcrt needs a 64-bit machine");
