use crate::{Error, ErrorKind, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file that appears complete or not at all.
pub fn write_whole(path: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let partial = partial_name(path);
    let failed = |error: std::io::Error| Error::new(ErrorKind::Io, format!("{}: {error}", path.display()));
    let written = File::create_new(&partial).map_err(failed).and_then(|file| {
        write(&file).map_err(|error| error.in_place(path.display()))?;
        file.sync_all().and_then(|()| std::fs::rename(&partial, path)).map_err(failed)
    });
    if written.is_err() {
        // It may never have been made; the error that matters is the first one.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// Beside the file, so that renaming stays within its file system; of this process and call alone.
fn partial_name(path: &Path) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{call}.partial", std::process::id()));
    PathBuf::from(name)
}
