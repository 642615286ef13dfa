//! Checkpoints from a server that speaks the Hugging Face hub's protocol.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::Deserialize;

use super::catalog::matches;
use super::http::{Client, Digest, Expected};
use super::{HubError, Progress, Result};

/// What a checkpoint's repository is worth to us besides the weights: the shape, the tokenizer, the chat template.
const NEEDED: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "quantize_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];

/// Files that come side by side: enough to fill a line that one connection does not.
const AT_ONCE: usize = 4;

#[derive(Deserialize)]
struct Repository {
    /// The commit that `main` is: every file is taken from it, whatever is pushed meanwhile.
    sha: Option<String>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

impl Sibling {
    /// Large files are known by their SHA-256, others by git's hash.
    fn expected(&self) -> Expected {
        let large = self.lfs.as_ref().and_then(|lfs| lfs.sha256.clone()).map(Digest::Sha256);
        let digest = match &self.lfs {
            Some(_) => large,
            None => self.blob.clone().map(Digest::GitBlob),
        };
        Expected { size: self.size, digest }
    }
}

/// `HF_TOKEN`, else what `hf auth login` left.
pub fn token() -> Option<String> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let file = || {
        let home = || {
            let cache =
                || var("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(Path::new(&var("HOME")?).join(".cache")));
            var("HF_HOME").map(PathBuf::from).or_else(|| Some(cache()?.join("huggingface")))
        };
        let path = var("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home()?.join("token")))?;
        std::fs::read_to_string(path).ok()
    };
    let token = var("HF_TOKEN").or_else(file)?.trim().to_string();
    (!token.is_empty()).then_some(token)
}

/// `HF_ENDPOINT`, as the hub's other clients have it.
fn endpoint() -> String {
    let endpoint = std::env::var("HF_ENDPOINT").ok().filter(|value| !value.is_empty());
    endpoint.as_deref().unwrap_or("https://huggingface.co").trim_end_matches('/').to_string()
}

/// The whole checkpoint of a repository, or `files` of it. Returns the file to open, or "" for the directory.
pub fn fetch(client: &Client, repo: &str, files: &[String], dir: &Path, progress: Progress) -> Result<String> {
    fetch_at(&endpoint(), client, repo, files, dir, progress)
}

fn fetch_at(
    endpoint: &str,
    client: &Client,
    repo: &str,
    files: &[String],
    dir: &Path,
    progress: Progress,
) -> Result<String> {
    let url = format!("{endpoint}/api/models/{repo}?blobs=true");
    let failed = |reason: String| HubError::Http { url: url.clone(), reason };
    let listing: Repository = serde_json::from_str(&client.text(&url)?)
        .map_err(|error| failed(format!("not a repository's listing: {error}")))?;
    let wanted = select(&listing.siblings, files);
    if wanted.is_empty() {
        return Err(failed("holds no checkpoint that tcc reads".into()));
    }
    let revision = listing.sha.as_deref().unwrap_or("main");
    at_once(&wanted, |file| {
        let url = format!("{endpoint}/{repo}/resolve/{revision}/{}", file.rfilename);
        client.download(&url, &dir.join(&file.rfilename), &file.expected(), progress)
    })?;
    let single = !files.is_empty() && wanted.len() == 1;
    Ok(if single { wanted[0].rfilename.clone() } else { String::new() })
}

/// Does it for all, several at a time; after a failure no more are begun, and the first one is returned.
fn at_once<T: Sync>(all: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            work(one).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE.min(all.len())).map(|_| scope.spawn(worker)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<_>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        // All are waited for before the first failure is looked for.
        workers.into_iter().map(join).collect::<Vec<Result<()>>>().into_iter().collect()
    })
}

fn select<'a>(siblings: &'a [Sibling], files: &[String]) -> Vec<&'a Sibling> {
    // A name with a folder, or with anything that could leave the cache's directory, is never taken.
    let plain =
        siblings.iter().filter(|file| !file.rfilename.contains(['/', '\\']) && !file.rfilename.starts_with('.'));
    let fits = |file: &&Sibling, pattern: &str| matches(pattern, &file.rfilename);
    if !files.is_empty() {
        return plain.filter(|file| files.iter().any(|pattern| fits(file, pattern))).collect();
    }
    // Of the same weights in several forms one is enough: Mistral's repositories hold a consolidated.safetensors, too.
    let forms = ["model*.safetensors", "*.safetensors", "pytorch_model*"];
    let there = |form: &&&str| siblings.iter().any(|file| fits(&file, form));
    let weights = forms.iter().find(there).unwrap_or(&forms[0]);
    plain.filter(|file| fits(file, weights) || NEEDED.contains(&file.rfilename.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Event;
    use crate::hub::testing::{Page, Server, quick};
    use std::sync::Mutex;

    fn sibling(name: &str) -> Sibling {
        Sibling { rfilename: name.into(), size: None, blob: None, lfs: None }
    }

    #[test]
    fn safetensors_are_preferred_and_folders_never_taken() {
        let names = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "../x.safetensors",
            "README.md",
        ];
        let siblings = names.map(sibling);
        let names = |selected: Vec<&Sibling>| selected.iter().map(|file| file.rfilename.clone()).collect::<Vec<_>>();
        assert_eq!(names(select(&siblings, &[])), ["config.json", "model.safetensors"]);
        assert_eq!(names(select(&siblings, &["*.bin".into()])), ["pytorch_model.bin"]);
        let mistral = ["consolidated.safetensors", "model-00001-of-00001.safetensors", "tekken.json"].map(sibling);
        assert_eq!(names(select(&mistral, &[])), ["model-00001-of-00001.safetensors", "tekken.json"]);
        let gptq = ["gptq_model-4bit-128g.safetensors"].map(sibling);
        assert_eq!(names(select(&gptq, &[])).len(), 1);
    }

    const LISTING: &str = r#"{"sha": "c0ffee", "siblings": [
        {"rfilename": "config.json", "size": 2, "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b"},
        {"rfilename": "model.safetensors", "size": 16,
         "lfs": {"sha256": "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"}}]}"#;
    const WEIGHTS: &str = "0123456789abcdef";

    fn server(weights: Vec<Page>) -> Server {
        Server::new(vec![
            ("/api/models/some/model?blobs=true", vec![Page::text(LISTING)]),
            ("/some/model/resolve/c0ffee/config.json", vec![Page::text("{}")]),
            ("/some/model/resolve/c0ffee/model.safetensors", weights),
        ])
    }

    fn try_fetch(server: &Server, dir: &Path, progress: Progress) -> Result<String> {
        fetch_at(&server.endpoint, &quick(Some("secret")), "some/model", &[], dir, progress)
    }

    #[test]
    fn a_checkpoint_comes_whole_verified_and_counted() {
        // The first try breaks off, the second one goes on from there.
        let server = server(vec![Page::text(WEIGHTS).cut(6), Page::text(WEIGHTS)]);
        let dir = tempfile::tempdir().unwrap();
        let seen = Mutex::new((0, 0));
        let watch = |event: Event| {
            let mut seen = seen.lock().unwrap();
            match event {
                Event::Expect(bytes) => seen.0 += bytes,
                Event::Got(bytes) => seen.1 += bytes,
                Event::Lost(bytes) => seen.1 -= bytes,
                Event::Waiting => {}
            }
        };
        assert_eq!(try_fetch(&server, dir.path(), &watch).unwrap(), "");
        assert_eq!(std::fs::read_to_string(dir.path().join("model.safetensors")).unwrap(), WEIGHTS);
        assert_eq!(std::fs::read_to_string(dir.path().join("config.json")).unwrap(), "{}");
        assert_eq!(*seen.lock().unwrap(), (18, 18));
        assert!(server.was_sent("range: bytes=6-") && server.was_sent("authorization: Bearer secret"));
        // What is here is not asked for again.
        let before = server.requests();
        try_fetch(&server, dir.path(), &|_| ()).unwrap();
        assert_eq!(server.requests(), before + 1);
    }

    #[test]
    fn other_bytes_than_promised_are_not_kept() {
        let server = server(vec![Page::text("0123456789abcdeX")]);
        let dir = tempfile::tempdir().unwrap();
        let error = try_fetch(&server, dir.path(), &|_| ()).unwrap_err().to_string();
        assert!(error.contains("model.safetensors: ") && error.contains("damaged"), "{error}");
        assert!(!dir.path().join("model.safetensors").exists());
        assert!(!dir.path().join("model.safetensors.part").exists());
    }
}
