//! A checkpoint's file in memory, and the bounded reading of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tcrt::sys::Mapping;

use super::error::{CheckpointError, Result, error};

/// A file whose bytes tensors borrow lazily.
pub struct SourceFile {
    path: PathBuf,
    bytes: Mapping,
}

impl SourceFile {
    pub fn open(path: &Path) -> Result<Arc<SourceFile>> {
        // The mapping's errors name the file.
        let bytes = Mapping::open(path).map_err(CheckpointError::new)?;
        Ok(Arc::new(SourceFile { path: path.to_path_buf(), bytes }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The error, with this file's name before it.
    pub fn fault(&self, error: CheckpointError) -> CheckpointError {
        error.in_file(&self.path)
    }
}

impl std::fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SourceFile").field(&self.path).finish()
    }
}

/// Reads little-endian values one after another; every read is checked against what is left.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = self.rest();
        let taken = rest.get(..len).ok_or_else(|| {
            error!("byte {}: {len} bytes are needed, but only {} are left (truncated?)", self.at, rest.len())
        })?;
        self.at += len;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length, as this machine counts.
    pub fn length(&mut self) -> Result<usize> {
        let at = self.at;
        let value = self.u64()?;
        usize::try_from(value).map_err(|_| error!("byte {at}: a length of {value} is too large"))
    }
}
