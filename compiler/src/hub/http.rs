//! Downloads over HTTP: into a `.part` file that a later try resumes, renamed when its length is right.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::catalog::matches;
use super::{HubError, Progress, Result, io_error};

/// What a checkpoint's repository is worth to us: the weights (one of the two forms), the shape and the tokenizer.
const NEEDED: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];

#[derive(Deserialize)]
struct Repository {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into()
}

fn endpoint() -> String {
    let set = std::env::var("HF_ENDPOINT").ok().filter(|value| !value.is_empty());
    set.map_or_else(|| "https://huggingface.co".into(), |value| value.trim_end_matches('/').to_string())
}

fn get(url: &str, from: u64) -> Result<ureq::http::Response<ureq::Body>> {
    let failed = |reason: String| HubError::Http { url: url.into(), reason };
    let mut request = agent().get(url);
    if let Ok(token) = std::env::var("HF_TOKEN")
        && url.starts_with(&endpoint())
    {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request.call().map_err(|error| failed(error.to_string()))?;
    match response.status().as_u16() {
        200 | 206 => Ok(response),
        401 | 403 => Err(failed("access is gated: accept its licence on its page and set HF_TOKEN to a token".into())),
        404 => Err(failed("not found there".into())),
        status => Err(failed(format!("the server answered {status}"))),
    }
}

/// The whole checkpoint of a repository, or `files` of it. Returns the file to open, or "" for the directory.
pub fn hugging_face(repo: &str, files: &[String], dir: &Path, progress: Progress) -> Result<String> {
    let url = format!("{}/api/models/{repo}", endpoint());
    let text = get(&url, 0)?
        .body_mut()
        .read_to_string()
        .map_err(|error| HubError::Http { url: url.clone(), reason: error.to_string() })?;
    let listing: Repository = serde_json::from_str(&text)
        .map_err(|error| HubError::Http { url: url.clone(), reason: format!("not a repository's listing: {error}") })?;
    let names: Vec<String> = listing.siblings.into_iter().map(|file| file.rfilename).collect();
    let wanted = select(&names, files);
    if wanted.is_empty() {
        return Err(HubError::Http { url, reason: "holds no checkpoint that tcc reads".into() });
    }
    for name in &wanted {
        download(&format!("{}/{repo}/resolve/main/{name}", endpoint()), &dir.join(name), progress)?;
    }
    let single = !files.is_empty() && wanted.len() == 1;
    Ok(if single { wanted[0].to_string() } else { String::new() })
}

fn select<'a>(names: &'a [String], files: &[String]) -> Vec<&'a String> {
    // A name with a folder, or with anything that could leave the cache's directory, is never taken.
    let plain = names.iter().filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.'));
    if !files.is_empty() {
        return plain.filter(|name| files.iter().any(|pattern| matches(pattern, name))).collect();
    }
    let safe = names.iter().any(|name| matches("*.safetensors", name));
    let weights = if safe { "*.safetensors" } else { "pytorch_model*" };
    plain.filter(|name| matches(weights, name) || NEEDED.contains(&name.as_str())).collect()
}

pub fn download(url: &str, target: &Path, progress: Progress) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir).map_err(io_error(dir))?;
    }
    let mut part = target.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let have = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let mut response = get(url, have)?;
    // A server that ignores the range sends everything again.
    let resumed = response.status().as_u16() == 206;
    let start = if resumed { have } else { 0 };
    let length = response.body().content_length().map(|rest| start + rest);
    let file = OpenOptions::new().create(true).write(true).append(resumed).truncate(!resumed).open(part);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let mut file = file.map_err(io_error(part))?;
    let got = copy(response.body_mut().as_reader(), &mut file, start, |done| progress(&name, done, length))
        .map_err(io_error(part))?;
    if length.is_some_and(|length| length != got) {
        let reason = format!("broke off after {got} of {} bytes; run again to go on", length.unwrap_or(0));
        return Err(HubError::Http { url: url.into(), reason });
    }
    fs::rename(part, target).map_err(io_error(target))
}

fn copy(mut from: impl Read, to: &mut File, start: u64, mut tell: impl FnMut(u64)) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut done = start;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(done),
            got => to.write_all(&buffer[..got])?,
        }
        done = to.metadata()?.len();
        tell(done);
    }
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn safetensors_are_preferred_and_folders_never_taken() {
        let names: Vec<String> = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "../x.safetensors",
            "README.md",
        ]
        .map(String::from)
        .to_vec();
        assert_eq!(select(&names, &[]), ["config.json", "model.safetensors"]);
        assert_eq!(select(&names, &["*.bin".into()]), ["pytorch_model.bin"]);
    }
}
