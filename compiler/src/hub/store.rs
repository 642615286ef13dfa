//! The models on this machine, and the artifacts made from them: directories of the user's cache.
//!
//! `models/NAME` holds a checkpoint, `artifacts/NAME` what was exported from it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::Xxh3;

use super::catalog::Model;
use super::{HubError, Result, io_error};
use crate::recipe::Recipe;

/// A checkpoint's directory is complete when this file, written last, stands in it; it holds the path to open.
const COMPLETE: &str = ".complete";

/// `$TCC_CACHE`, else the user's cache directory.
pub fn cache_dir() -> Result<PathBuf> {
    user_dir("TCC_CACHE", "XDG_CACHE_HOME", ".cache")
}

/// `$TCC_STATE`, else the user's directory for what programs remember.
pub fn state_dir() -> Result<PathBuf> {
    user_dir("TCC_STATE", "XDG_STATE_HOME", ".local/state")
}

/// `$name` itself, else our directory of `$xdg`, else of `under` in the home directory.
pub(super) fn user_dir(name: &str, xdg: &str, under: &str) -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var(name)
        .or_else(|| var(xdg).map(|dir| dir.join("tcc")))
        .or_else(|| var("HOME").map(|home| home.join(under).join("tcc")))
        .ok_or(HubError::NoHome)
}

pub(super) fn model_dir(model: &Model) -> Result<PathBuf> {
    Ok(cache_dir()?.join("models").join(folder(&model.alias)))
}

/// Where artifacts of a model go, which has a name or is a path.
pub fn artifact_dir(model: &str) -> Result<PathBuf> {
    Ok(cache_dir()?.join("artifacts").join(folder(model)))
}

/// What an artifact of the cache depends on.
pub struct Made<'a> {
    pub checkpoint: &'a Path,
    pub recipe: &'a Recipe,
    /// The text that the recipe's methods read in place of the default.
    pub calibration: Option<&'a str>,
    /// A shared object for this machine, not a program file.
    pub native: bool,
}

impl Made<'_> {
    /// Where the artifact of a model (a name or a path) belongs: another checkpoint, recipe or version of tcc gives another file.
    pub fn path(&self, model: &str) -> Result<PathBuf> {
        let mut key = Xxh3::new();
        key.update(env!("CARGO_PKG_VERSION").as_bytes());
        key.update(format!("{:?}", self.recipe).as_bytes());
        key.update(self.calibration.unwrap_or_default().as_bytes());
        fingerprint(self.checkpoint, &mut key).map_err(io_error(self.checkpoint))?;
        let extension = if self.native { "so" } else { "pte" };
        let target = tc_targets::host().filter(|_| self.native).map_or("", |target| target.name);
        Ok(artifact_dir(model)?.join(format!("{:016x}{target}.{extension}", key.digest())))
    }
}

/// Names, lengths and times of a checkpoint's files: reading gigabytes at every start is not worth what it would tell more.
fn fingerprint(path: &Path, key: &mut Xxh3) -> std::io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| fingerprint(entry, key));
    }
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    key.update(path.as_os_str().as_encoded_bytes());
    key.update(&metadata.len().to_le_bytes());
    key.update(&changed.as_nanos().to_le_bytes());
    Ok(())
}

/// Beside a checkpoint that is being fetched: held by the process that fetches it.
const LOCK: &str = ".lock";

/// One process at a time fetches a model. The lock ends with the file that is returned, however its process ends.
pub(super) fn lock(dir: &Path, waiting: impl FnOnce()) -> Result<File> {
    fs::create_dir_all(dir).map_err(io_error(dir))?;
    let path = dir.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(io_error(&path))?;
    let locked = file.try_lock().or_else(|error| match error {
        TryLockError::WouldBlock => {
            waiting();
            file.lock()
        }
        TryLockError::Error(error) => Err(error),
    });
    match locked {
        // Some file systems have no locks: then two processes may fetch the same bytes, which only costs time.
        Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(io_error(&path)(error)),
        _ => Ok(file),
    }
}

/// Deletes the folder of a model of which no byte was fetched.
pub(super) fn forget_if_nothing_came(dir: &Path) {
    let ours = |name: &std::ffi::OsStr| name == LOCK || name == REPOSITORY;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| ours(&entry.file_name()))))
    {
        // What cannot be deleted does no harm.
        let _ = fs::remove_dir_all(dir);
    }
}

/// A name as a folder of its own.
fn folder(name: &str) -> String {
    name.replace(['/', '\\', ':'], "-")
}

/// Where a model lies if it has been fetched.
pub fn cached(model: &Model) -> Result<Option<PathBuf>> {
    Ok(complete(&model_dir(model)?))
}

pub(super) fn complete(dir: &Path) -> Option<PathBuf> {
    let entry = fs::read_to_string(dir.join(COMPLETE)).ok()?;
    let path = entry_path(dir, &entry);
    path.exists().then_some(path)
}

/// All of it is here.
pub(super) fn finish(dir: &Path, entry: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir).map_err(io_error(dir))?;
    let marker = dir.join(COMPLETE);
    fs::write(&marker, entry).map_err(io_error(&marker))?;
    Ok(entry_path(dir, entry))
}

/// What to open: a file of the directory, a path elsewhere, or the directory itself.
fn entry_path(dir: &Path, entry: &str) -> PathBuf {
    if entry.is_empty() { dir.to_path_buf() } else { dir.join(entry) }
}

/// A checkpoint that a user's catalog names by its path, which stays where it is.
pub(super) fn local(path: &Path) -> Result<String> {
    let full = path.canonicalize().map_err(io_error(path))?;
    full.into_os_string().into_string().map_err(|_: OsString| {
        let reason = "a path of a catalog must be valid UTF-8".to_string();
        HubError::Catalog { path: path.to_path_buf(), reason }
    })
}

/// What stands on disk for a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub checkpoint: u64,
    pub artifacts: u64,
}

pub fn usage(model: &Model) -> Result<Usage> {
    Ok(Usage { checkpoint: bytes_below(&model_dir(model)?), artifacts: bytes_below(&artifact_dir(&model.alias)?) })
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Deletes a model and its artifacts, whole or begun; says what that freed.
pub fn remove(model: &Model) -> Result<Usage> {
    let freed = usage(model)?;
    remove_all(&model_dir(model)?)?;
    remove_all(&artifact_dir(&model.alias)?)?;
    Ok(freed)
}

/// Deletes what was exported from a checkpoint elsewhere, which stays.
pub fn remove_artifacts(model: &str) -> Result<Usage> {
    let dir = artifact_dir(model)?;
    let freed = Usage { checkpoint: 0, artifacts: bytes_below(&dir) };
    remove_all(&dir)?;
    Ok(freed)
}

fn remove_all(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(dir)(error)),
        _ => Ok(()),
    }
}

/// Repositories that were fetched by their own name, not the catalog's.
pub fn repositories() -> Result<Vec<Model>> {
    let dir = cache_dir()?.join("models");
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = names.filter_map(|path| fs::read_to_string(path.join(REPOSITORY)).ok());
    let mut models: Vec<Model> = named.map(|name| Model::repository(name.trim())).collect();
    models.sort_by(|a, b| a.alias.cmp(&b.alias));
    Ok(models)
}

/// Beside a repository that the catalog does not name: its name.
const REPOSITORY: &str = ".repository";

pub(super) fn note_repository(dir: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(dir).map_err(io_error(dir))?;
    let path = dir.join(REPOSITORY);
    fs::write(&path, name).map_err(io_error(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_found_again_until_something_it_depends_on_changes() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = directory.path().join("model.bin");
        fs::write(&checkpoint, "one").unwrap();
        let recipe = Recipe::default();
        let made = Made { checkpoint: &checkpoint, recipe: &recipe, calibration: None, native: false };
        let first = made.path("some/model:8b").unwrap();
        assert_eq!(first, made.path("some/model:8b").unwrap());
        assert!(first.parent().unwrap().ends_with("artifacts/some-model-8b"));
        let native = Made { native: true, ..made };
        assert_ne!(native.path("some/model:8b").unwrap(), first);
        fs::write(&checkpoint, "other").unwrap();
        assert_ne!(made.path("some/model:8b").unwrap(), first);
    }

    #[test]
    fn a_model_is_fetched_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("model");
        let first = lock(&dir, || panic!("nobody holds it")).unwrap();
        let (waiting, waits) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let dir = dir.clone();
            move || lock(&dir, || waiting.send(()).unwrap()).map(drop)
        });
        waits.recv().unwrap();
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
        forget_if_nothing_came(&dir);
        assert!(!dir.exists(), "a lock alone is not worth a folder");
    }
}
