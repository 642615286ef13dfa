//! The handful of libc functions the runtime calls, declared by hand so that it needs no crate.

use std::ffi::{c_char, c_int, c_void};

pub const PROT_READ: c_int = 1;
pub const PROT_WRITE: c_int = 2;
pub const MAP_PRIVATE: c_int = 2;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub const MAP_ANONYMOUS: c_int = 0x20;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const MAP_ANONYMOUS: c_int = 0x1000;
/// Pages count against memory when they are touched, not when they are reserved.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub const MAP_NORESERVE: c_int = 0x4000;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const MAP_NORESERVE: c_int = 0x40;

/// Every symbol is resolved before `dlopen` returns; none is offered to others.
pub const RTLD_NOW: c_int = 2;

unsafe extern "C" {
    pub fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    pub fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    pub fn dlclose(library: *mut c_void) -> c_int;
    pub fn dlerror() -> *const c_char;
    pub fn mmap(
        address: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
    pub fn munmap(address: *mut c_void, length: usize) -> c_int;
}

/// What `mmap` returns when it fails.
pub fn is_failed(address: *mut c_void) -> bool {
    address.addr() == usize::MAX
}
