//! Files that appear whole or not at all.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// A file could not be written; one line that names it.
#[derive(Debug)]
pub struct WriteError {
    path: String,
    source: io::Error,
}

impl WriteError {
    pub fn at(path: &Path) -> impl Fn(io::Error) -> WriteError {
        let path = path.display().to_string();
        move |source| WriteError { path: path.clone(), source }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.kind() {
            io::ErrorKind::StorageFull => write!(f, "{}: the disk is full", self.path),
            io::ErrorKind::QuotaExceeded => write!(f, "{}: the disk quota is used up", self.path),
            _ => write!(f, "{}: {}", self.path, self.source),
        }
    }
}

impl std::error::Error for WriteError {}

pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = WriteError::at(path);
    let mut file = temporary_beside(path).map_err(&failed)?;
    file.write_all(bytes).map_err(&failed)?;
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A file in the same directory, so that renaming it to `path` moves no bytes. It goes when the value is dropped.
pub fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    if let Some(permissions) = usual_permissions() {
        builder.permissions(permissions);
    }
    let failed = |error: io::Error| io::Error::new(error.kind(), io_reason(&error));
    builder.tempfile_in(directory).map_err(failed)
}

/// Without the temporary file's name, which tells nobody anything.
fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such directory".to_string(),
        io::ErrorKind::PermissionDenied => "no permission to write here".to_string(),
        kind => kind.to_string(),
    }
}

/// What any new file gets (the umask applies), not the private mode of temporary files.
#[cfg(unix)]
fn usual_permissions() -> Option<Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

#[cfg(not(unix))]
fn usual_permissions() -> Option<Permissions> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_one_line() {
        let error = WriteError::at(Path::new("model.pte"))(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.to_string(), "model.pte: the disk is full");
    }

    #[test]
    fn what_is_there_is_replaced_and_nothing_else_appears() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let message = write_atomically(&path.join("under"), b"").unwrap_err().to_string();
        assert!(message.contains("under") && !message.contains(".part"), "{message}");
    }
}
