//! Reading and writing what callers point to. Each function checks all that can be checked of a pointer: that it is there, aligned,
//! and that its length is one an object can have. That it leads to that much memory is the caller's promise.

use super::status::tcrt_status::{TCRT_BUFFER_TOO_SMALL, TCRT_INVALID_ARGUMENT};
use super::status::{Outcome, fail};
use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::slice;

/// # Safety
/// `pointer` is NULL or leads to a NUL-terminated string that lives for `'a`.
pub unsafe fn bytes<'a>(name: &str, pointer: *const c_char) -> Outcome<&'a [u8]> {
    present(name, pointer)?;
    // SAFETY: promised by the caller.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// # Safety
/// As for `bytes`.
pub unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Outcome<&'a str> {
    // SAFETY: promised by the caller.
    utf8(name, unsafe { bytes(name, pointer)? })
}

/// # Safety
/// As for `bytes`.
pub unsafe fn path<'a>(pointer: *const c_char) -> Outcome<&'a Path> {
    // SAFETY: promised by the caller.
    Ok(Path::new(OsStr::from_bytes(unsafe { bytes("path", pointer)? })))
}

pub fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Outcome<&'a str> {
    std::str::from_utf8(bytes).or_else(|error| fail(TCRT_INVALID_ARGUMENT, format!("{name} is not UTF-8: {error}")))
}

/// # Safety
/// `pointer` is NULL or leads to `count` values, any bits of which are a `T`, that live for `'a` and do not change meanwhile.
pub unsafe fn list<'a, T: Copy>(name: &str, pointer: *const T, count: usize) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check(name, pointer, count)?;
    // SAFETY: there, aligned and of a possible size; the rest is promised by the caller.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}

/// # Safety
/// `pointer` is NULL or leads to `count` initialized values that live for `'a` and that nobody else uses meanwhile.
pub unsafe fn list_mut<'a, T: Copy>(name: &str, pointer: *mut T, count: usize) -> Outcome<&'a mut [T]> {
    if count == 0 {
        return Ok(&mut []);
    }
    check(name, pointer, count)?;
    // SAFETY: there, aligned and of a possible size; the rest is promised by the caller.
    Ok(unsafe { slice::from_raw_parts_mut(pointer, count) })
}

/// Where a result goes. Made before the work is done, so that a call with a bad pointer does nothing.
pub struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// # Safety
    /// `pointer` is NULL or leads to memory for a `T` until the value is written.
    pub unsafe fn new(name: &str, pointer: *mut T) -> Outcome<Out<T>> {
        check(name, pointer, 1)?;
        Ok(Out(pointer))
    }

    pub fn write(&self, value: T) {
        // SAFETY: there and aligned; the rest was promised to `new`.
        unsafe { self.0.write(value) };
    }
}

/// A caller's buffer with its capacity, and where the number of values goes.
pub struct Buffer<T> {
    values: *mut T,
    capacity: usize,
    count: Out<usize>,
}

impl<T: Copy> Buffer<T> {
    /// A buffer that is NULL with no capacity only asks for the count.
    ///
    /// # Safety
    /// `values` is NULL or leads to memory for `capacity` values, and `count` is NULL or leads to one for a count, until they are filled.
    pub unsafe fn new(values: *mut T, capacity: usize, count: *mut usize) -> Outcome<Buffer<T>> {
        if !(values.is_null() && capacity == 0) {
            check("buffer", values, capacity.max(1))?;
        }
        // SAFETY: promised by the caller.
        Ok(Buffer { values, capacity, count: unsafe { Out::new("count", count)? } })
    }

    pub fn fill(&self, values: &[T]) -> Outcome {
        self.count.write(values.len());
        self.copy(values)
    }

    fn copy(&self, values: &[T]) -> Outcome {
        if self.values.is_null() {
            return Ok(());
        }
        self.check_room(values.len())?;
        // SAFETY: `capacity` values fit, as was promised to `new`, and these are no more; a caller's buffer is none of our memory.
        unsafe { values.as_ptr().copy_to_nonoverlapping(self.values, values.len()) };
        Ok(())
    }

    fn check_room(&self, needed: usize) -> Outcome {
        match needed <= self.capacity {
            true => Ok(()),
            false => {
                let message = format!("the buffer has room for {}; {needed} are needed", self.capacity);
                fail(TCRT_BUFFER_TOO_SMALL, message)
            }
        }
    }
}

impl Buffer<u8> {
    /// Has `write` fill `size` bytes in place: for what is too large to make twice.
    pub fn fill_with(&self, size: usize, write: impl FnOnce(&mut [u8]) -> Outcome) -> Outcome {
        self.count.write(size);
        if self.values.is_null() {
            return Ok(());
        }
        self.check_room(size)?;
        // SAFETY: `capacity` bytes are there, as was promised to `new`, and these are no more.
        unsafe { self.values.write_bytes(0, size) };
        // SAFETY: as above, and now they are initialized.
        write(unsafe { slice::from_raw_parts_mut(self.values, size) })
    }
}

impl Buffer<c_char> {
    /// A text with a NUL after it, which the count leaves out.
    pub fn fill_text(&self, text: &[u8]) -> Outcome {
        self.count.write(text.len());
        let text: Vec<c_char> = text.iter().chain(&[0]).map(|byte| *byte as c_char).collect();
        self.copy(&text)
    }
}

fn check<T>(name: &str, pointer: *const T, count: usize) -> Outcome {
    present(name, pointer)?;
    if !pointer.is_aligned() {
        return fail(TCRT_INVALID_ARGUMENT, format!("{name} is not aligned to {} bytes", align_of::<T>()));
    }
    match count.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok()) {
        true => Ok(()),
        false => fail(TCRT_INVALID_ARGUMENT, format!("{name}: a count of {count} is more than memory can hold")),
    }
}

fn present<T>(name: &str, pointer: *const T) -> Outcome {
    match pointer.is_null() {
        true => fail(TCRT_INVALID_ARGUMENT, format!("{name} is NULL")),
        false => Ok(()),
    }
}
