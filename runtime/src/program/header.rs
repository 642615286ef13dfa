//! The 64 bytes a program file begins with; `docs/pte-format.md` describes them. Writer and reader share this code.

use crate::{Error, ErrorKind, Result};

pub const MAGIC: [u8; 8] = *b"TCRTPTE\0";
/// Changes only when an older reader would misread the file.
pub const MAJOR: u16 = 1;
/// Grows with whatever an older reader does not know: it ignores it, or refuses it by name.
pub const MINOR: u16 = 1;
pub const HEADER_BYTES: usize = 64;
/// Segments begin at multiples of this: a page on every machine we run on.
pub const SEGMENT_ALIGN: u64 = 16384;
/// Weights begin at multiples of this within their segment, buffers within the arena.
pub const DATA_ALIGN: u64 = 64;
/// The flatbuffer's file identifier.
pub const IDENTIFIER: [u8; 4] = *b"TCPT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub major: u16,
    pub minor: u16,
    /// Where the flatbuffer begins.
    pub program_offset: u64,
    pub program_size: u64,
    /// Of the whole file: a shorter one was truncated.
    pub file_size: u64,
}

impl Header {
    /// A header of this version.
    pub fn new(program_offset: u64, program_size: u64, file_size: u64) -> Header {
        Header { major: MAJOR, minor: MINOR, program_offset, program_size, file_size }
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.major.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.minor.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.program_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.program_size.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.file_size.to_le_bytes());
        bytes
    }

    /// Reads the header of a whole file and checks it against the file's length.
    pub fn decode(file: &[u8]) -> Result<Header> {
        let Some(bytes) = file.first_chunk::<HEADER_BYTES>() else {
            return Err(Error::invalid_file(format!(
                "header: the file has {} bytes, fewer than a header's 64",
                file.len()
            )));
        };
        if bytes[0..8] != MAGIC {
            return Err(Error::invalid_file("header: not a program file (the magic number is wrong)"));
        }
        let header = Header {
            major: u16::from_le_bytes([bytes[8], bytes[9]]),
            minor: u16::from_le_bytes([bytes[10], bytes[11]]),
            program_offset: word(bytes, 16),
            program_size: word(bytes, 24),
            file_size: word(bytes, 32),
        };
        if header.major != MAJOR {
            let message =
                format!("header: format version {}.{}, this runtime reads {MAJOR}.x", header.major, header.minor);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        header.check(file.len() as u64)?;
        Ok(header)
    }

    /// What is wrong with the rest of a file that is newer than this reader may be something that it does not know.
    pub fn explain(&self, error: Error) -> Error {
        if self.minor <= MINOR {
            return error;
        }
        let [file, ours] = [(self.major, self.minor), (MAJOR, MINOR)].map(|(major, minor)| format!("{major}.{minor}"));
        let message =
            format!("{error} (the file has format {file}; this runtime, which knows {ours}, may be too old for it)");
        Error::new(error.kind, message)
    }

    fn check(&self, file_len: u64) -> Result<()> {
        if self.file_size != file_len {
            let what = if file_len < self.file_size { "truncated" } else { "longer than it should be" };
            let message = format!("header: the file is {what}: {file_len} bytes instead of {}", self.file_size);
            return Err(Error::invalid_file(message));
        }
        let end = self.program_offset.checked_add(self.program_size);
        if self.program_offset < HEADER_BYTES as u64 || end.is_none_or(|end| end > file_len) {
            let message = format!(
                "header: the program ({} bytes at {}) lies outside the file",
                self.program_size, self.program_offset
            );
            return Err(Error::invalid_file(message));
        }
        Ok(())
    }
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = Header::new(64, 100, 300);
        let mut file = header.encode().to_vec();
        file.resize(300, 0);
        assert_eq!(Header::decode(&file).unwrap(), header);
    }

    #[test]
    fn each_fault_is_named() {
        let fault = |change: fn(&mut Vec<u8>)| {
            let mut file = Header::new(64, 100, 300).encode().to_vec();
            file.resize(300, 0);
            change(&mut file);
            Header::decode(&file).unwrap_err().to_string()
        };
        assert!(fault(|file| file.truncate(63)).contains("fewer than a header's 64"));
        assert!(fault(|file| file[0] = b'X').contains("magic"));
        assert!(fault(|file| file[8] = 2).contains(&format!("version 2.{MINOR}")));
        assert!(fault(|file| file.truncate(299)).contains("truncated: 299 bytes instead of 300"));
        assert!(fault(|file| file.push(0)).contains("longer"));
        assert!(fault(|file| file[16] = 255).contains("outside the file"));
        assert!(fault(|file| file[24..32].fill(255)).contains("outside the file"));
        assert!(fault(|file| file[16] = 0).contains("outside the file"));
    }
}
