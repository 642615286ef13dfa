#[cfg(target_os = "linux")]
use super::libc;
use crate::{Error, ErrorKind, Result};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Bytes as a file without a name, for what the system takes only as files: held in memory, and sealed, so that nobody can
/// change it any more.
pub(crate) struct SealedFile {
    file: File,
}

impl SealedFile {
    pub fn new(bytes: &[u8]) -> Result<SealedFile> {
        match sealed(bytes) {
            Ok(file) => Ok(SealedFile { file }),
            Err(error) => Err(Error::new(ErrorKind::Io, format!("as a file in memory: {error}"))),
        }
    }

    /// Leads to the file for as long as the value lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

#[cfg(target_os = "linux")]
fn sealed(bytes: &[u8]) -> std::io::Result<File> {
    use std::io::{Error, Write};
    use std::os::fd::FromRawFd;
    let new = |flags| {
        // SAFETY: the name ends in a zero.
        match unsafe { libc::memfd_create(c"tcrt-model".as_ptr(), flags) } {
            // SAFETY: a new descriptor that is nobody else's.
            descriptor @ 0.. => Ok(unsafe { File::from_raw_fd(descriptor) }),
            _ => Err(Error::last_os_error()),
        }
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Before Linux 6.3 nobody had to say that a file is to be executed, and nobody could.
    let mut file = new(flags | libc::MFD_EXEC).or_else(|_| new(flags))?;
    file.write_all(bytes)?;
    // SAFETY: an open descriptor, and a command that takes an integer.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::ALL_SEALS) } {
        0.. => Ok(file),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn sealed(_: &[u8]) -> std::io::Result<File> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "this system has none: load it from a file"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_sealed_is_read_and_not_written() {
        let mut sealed = SealedFile::new(b"some bytes").unwrap();
        assert_eq!(std::fs::read(sealed.path()).unwrap(), b"some bytes");
        assert!(sealed.file.write_all(b"more").is_err());
        assert!(sealed.file.set_len(3).is_err());
    }
}
