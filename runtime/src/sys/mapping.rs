use super::{Memory, libc};
use crate::{Error, ErrorKind, Result};
use std::fs::File;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::{self, NonNull};

/// The bytes of a file, read-only: mapped, never copied, so that opening costs the same whatever the file's size. Begins at a page
/// boundary.
///
/// As with every mapped file, whoever truncates it while it is in use takes the process down with it; writers replace
/// artifacts by renaming.
pub struct Mapping {
    bytes: Bytes,
}

enum Bytes {
    File { start: NonNull<u8>, len: usize },
    Owned { memory: Memory, len: usize },
}

// SAFETY: the pages are readable for as long as the value lives, nobody writes them through it, and `munmap` may be called from any
// thread.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared access only ever reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the file at `path`. Errors name the path.
    pub fn open(path: &Path) -> Result<Mapping> {
        let failed = |error: std::io::Error| Error::new(ErrorKind::Io, format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::new(ErrorKind::Io, format!("{}: not a file", path.display())));
        }
        let len = usize::try_from(metadata.len())
            .map_err(|_| Error::new(ErrorKind::Io, format!("{}: too large to map", path.display())))?;
        if len == 0 {
            return Mapping::from_bytes(&[]);
        }
        // SAFETY: a fresh private mapping of an open file at an address the kernel chooses touches nothing of ours.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if !libc::is_failed(start.as_ptr().cast()) => Ok(Mapping { bytes: Bytes::File { start, len } }),
            _ => Err(failed(std::io::Error::last_os_error())),
        }
    }

    /// Holds a copy of `bytes`, aligned as a mapped file would be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Mapping> {
        let mut memory = Memory::reserve(bytes.len())?;
        memory.bytes_mut(0, bytes.len())?.copy_from_slice(bytes);
        Ok(Mapping { bytes: Bytes::Owned { memory, len: bytes.len() } })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            // SAFETY: `start..start + len` is mapped readable until drop, and never written through this process.
            Bytes::File { start, len } => unsafe { std::slice::from_raw_parts(start.as_ptr(), *len) },
            Bytes::Owned { memory, len } => memory.bytes(0, *len).unwrap_or_default(),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Bytes::File { start, len } = self.bytes {
            // SAFETY: exactly the range `mmap` returned; no borrow of it outlives `self`.
            unsafe { libc::munmap(start.as_ptr().cast(), len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_a_file_and_a_buffer_alike() {
        let path = std::env::temp_dir().join(format!("tcrt-mapping-{}", std::process::id()));
        std::fs::write(&path, b"some bytes").unwrap();
        let mapped = Mapping::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let copied = Mapping::from_bytes(b"some bytes").unwrap();
        assert_eq!(&*mapped, b"some bytes");
        assert_eq!(&*copied, &*mapped);
        assert_eq!(copied.as_ptr().addr() % 4096, 0);
    }

    #[test]
    fn an_empty_file_is_an_empty_slice() {
        let path = std::env::temp_dir().join(format!("tcrt-empty-{}", std::process::id()));
        std::fs::write(&path, b"").unwrap();
        assert!(Mapping::open(&path).unwrap().is_empty());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn errors_name_the_path() {
        let missing = Mapping::open(Path::new("/no/such/model.pte")).err().unwrap();
        assert_eq!(missing.kind, ErrorKind::Io);
        assert!(missing.to_string().starts_with("/no/such/model.pte: "), "{missing}");
        let folder = Mapping::open(&std::env::temp_dir()).err().unwrap();
        assert!(folder.to_string().ends_with(": not a file"), "{folder}");
    }
}
