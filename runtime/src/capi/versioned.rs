//! Structures that grow: each begins with its size, as the caller's header knew it, and the interface's version. They are extended at
//! the end, and zero is every field's default, so either side may be the older one.

use super::status::tcrt_status::{TCRT_INVALID_ARGUMENT, TCRT_UNSUPPORTED};
use super::status::{Outcome, TCRT_ABI_VERSION, fail};
use std::mem::MaybeUninit;

const HEADER: usize = 8;
/// No structure will ever be larger; a size beyond it was never set.
const LARGEST: usize = 4096;

/// # Safety
/// The type is `repr(C)` without padding, begins with `size` and `version` as `u32`, and zero bytes are a value of it; so is whatever a
/// caller writes in C.
pub unsafe trait Versioned: Copy {
    const NAME: &'static str;
}

/// Names a type that meets `Versioned`'s demands, of this many bytes: a size that differs has padding, or broke the ABI.
macro_rules! versioned {
    ($type:ty, $name:literal, $size:literal) => {
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: `repr(C)`, of numbers and pointers for which zero is a value, and as large as its fields together.
        unsafe impl $crate::capi::versioned::Versioned for $type {
            const NAME: &'static str = $name;
        }
    };
}
pub(super) use versioned;

/// The caller's structure, with defaults where the caller's header knew fewer fields. NULL is all defaults.
///
/// # Safety
/// `pointer` is NULL or leads to a structure of the size that its first field tells.
pub unsafe fn read<T: Versioned>(pointer: *const T) -> Outcome<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    if !pointer.is_null() {
        // SAFETY: promised by the caller.
        let size = unsafe { size::<T>(pointer)? };
        let known = size.min(size_of::<T>());
        // SAFETY: both sides have `known` bytes: the caller's by its promise, ours by being a `T`.
        unsafe { pointer.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), known) };
        for at in known..size {
            // SAFETY: inside the caller's structure.
            if unsafe { pointer.cast::<u8>().add(at).read() } != 0 {
                let message = format!("{} asks for something that a newer version of the library has", T::NAME);
                return fail(TCRT_UNSUPPORTED, message);
            }
        }
    }
    // SAFETY: zero is a value, and so is what a caller wrote over it.
    Ok(unsafe { value.assume_init() })
}

/// Where a structure of results goes.
pub struct Results<T> {
    pointer: *mut T,
    size: usize,
}

impl<T: Versioned> Results<T> {
    /// # Safety
    /// `pointer` is NULL or leads to a structure of the size that its first field tells, until the results are written.
    pub unsafe fn new(pointer: *mut T) -> Outcome<Results<T>> {
        if pointer.is_null() {
            return fail(TCRT_INVALID_ARGUMENT, format!("{} is NULL", T::NAME));
        }
        // SAFETY: promised by the caller.
        Ok(Results { pointer, size: unsafe { size::<T>(pointer)? } })
    }

    /// Writes the fields that the caller knows; those that only the caller knows become zero. The caller's size and version stay.
    pub fn write(&self, value: &T) {
        let (from, to) = ((&raw const *value).cast::<u8>(), self.pointer.cast::<u8>());
        let known = self.size.min(size_of::<T>());
        // SAFETY: the caller's structure has `size` bytes, ours as many as a `T`; both have a header, as `size` checked.
        unsafe {
            from.add(HEADER).copy_to_nonoverlapping(to.add(HEADER), known - HEADER);
            to.add(known).write_bytes(0, self.size - known);
        }
    }
}

/// # Safety
/// `pointer` leads to the header of a structure.
unsafe fn size<T: Versioned>(pointer: *const T) -> Outcome<usize> {
    if !pointer.is_aligned() {
        return fail(TCRT_INVALID_ARGUMENT, format!("{} is not aligned", T::NAME));
    }
    // SAFETY: promised by the caller; aligned for at least a `u32`.
    let [size, version] = unsafe { pointer.cast::<[u32; 2]>().read() };
    if !(HEADER..=LARGEST).contains(&(size as usize)) {
        return fail(TCRT_INVALID_ARGUMENT, format!("{}: a size of {size}; it must be its sizeof", T::NAME));
    }
    if version != TCRT_ABI_VERSION {
        let message = format!("{}: version {version}; this library has {TCRT_ABI_VERSION}", T::NAME);
        return fail(TCRT_UNSUPPORTED, message);
    }
    Ok(size as usize)
}
