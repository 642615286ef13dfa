use super::libc;
use crate::{Error, ErrorKind, Result};
use std::ptr::{self, NonNull};

/// Zeroed memory of the process's own, reserved at once and taken from the machine only as it is touched. Begins at a page boundary.
pub struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the value alone; `munmap` may be called from any thread.
unsafe impl Send for Memory {}
// SAFETY: safe shared access only reads; kernels that write through `as_ptr` are ordered by the executor, which borrows its engine
// mutably for the length of a call.
unsafe impl Sync for Memory {}

impl Memory {
    /// Reserves `len` bytes (at least one).
    pub fn reserve(len: usize) -> Result<Memory> {
        let len = len.max(1);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address the kernel chooses touches nothing of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if !libc::is_failed(start.as_ptr().cast()) => Ok(Memory { start, len }),
            _ => {
                let reason = std::io::Error::last_os_error();
                Err(Error::new(ErrorKind::LimitExceeded, format!("cannot reserve {len} bytes of memory: {reason}")))
            }
        }
    }

    /// For kernels; whoever writes through it must not do so while a slice of the same bytes is borrowed.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub fn bytes(&self, offset: usize, len: usize) -> Result<&[u8]> {
        self.check(offset, len)?;
        // SAFETY: checked to be inside; the memory is zeroed or written, and shared access excludes `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) })
    }

    pub fn bytes_mut(&mut self, offset: usize, len: usize) -> Result<&mut [u8]> {
        self.check(offset, len)?;
        // SAFETY: as in `bytes`, and `&mut self` makes the borrow the only one.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(offset), len) })
    }

    /// `len` values of f32 from byte `offset`, a multiple of 4.
    pub fn floats_mut(&mut self, offset: usize, len: usize) -> Result<&mut [f32]> {
        let bytes = self.bytes_mut(offset, len.saturating_mul(4))?;
        // SAFETY: every bit pattern is an f32, and `align_to_mut` gives only aligned ones.
        let (before, floats, _) = unsafe { bytes.align_to_mut::<f32>() };
        if before.is_empty() { Ok(floats) } else { Err(outside(offset, len)) }
    }

    /// Copies `len` bytes from one place to another.
    pub fn copy_within(&mut self, from: usize, to: usize, len: usize) -> Result<()> {
        self.check(from, len)?;
        self.check(to, len)?;
        self.bytes_mut(0, self.len)?.copy_within(from..from + len, to);
        Ok(())
    }

    fn check(&self, offset: usize, len: usize) -> Result<()> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if fits { Ok(()) } else { Err(outside(offset, len)) }
    }
}

fn outside(offset: usize, len: usize) -> Error {
    Error::invalid_argument(format!("{len} bytes at {offset} lie outside the reserved memory"))
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly the range `mmap` returned; no borrow of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_bounded() {
        let mut memory = Memory::reserve(100).unwrap();
        assert!(memory.bytes(0, 100).unwrap().iter().all(|byte| *byte == 0));
        memory.floats_mut(4, 2).unwrap().copy_from_slice(&[1.0, 2.0]);
        assert_eq!(memory.bytes(8, 4).unwrap(), 2.0f32.to_le_bytes());
        assert!(memory.bytes(90, 11).is_err());
        assert!(memory.floats_mut(2, 1).is_err());
        assert!(memory.floats_mut(0, usize::MAX).is_err());
    }

    #[test]
    fn much_can_be_reserved_and_too_much_is_an_error() {
        let mut memory = Memory::reserve(1 << 40).unwrap();
        memory.bytes_mut(1 << 39, 1).unwrap()[0] = 1;
        let error = Memory::reserve(1 << 60).err().unwrap();
        assert_eq!(error.kind, ErrorKind::LimitExceeded);
    }
}
