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

/// A server that speaks the Hugging Face hub's protocol.
pub struct HuggingFace {
    endpoint: String,
    token: Option<String>,
}

impl HuggingFace {
    /// `HF_ENDPOINT` and `HF_TOKEN`, as its other clients have them.
    pub fn from_env() -> Self {
        let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Self { endpoint: endpoint.trim_end_matches('/').to_string(), token: var("HF_TOKEN") }
    }

    /// The whole checkpoint of a repository, or `files` of it. Returns the file to open, or "" for the directory.
    pub fn fetch(&self, repo: &str, files: &[String], dir: &Path, progress: Progress) -> Result<String> {
        let url = format!("{}/api/models/{repo}", self.endpoint);
        let failed = |reason: String| HubError::Http { url: url.clone(), reason };
        let mut response = get(&url, 0, self.token.as_deref())?;
        let text = response.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
        let listing: Repository =
            serde_json::from_str(&text).map_err(|error| failed(format!("not a repository's listing: {error}")))?;
        let names: Vec<String> = listing.siblings.into_iter().map(|file| file.rfilename).collect();
        let wanted = select(&names, files);
        if wanted.is_empty() {
            return Err(failed("holds no checkpoint that tcc reads".into()));
        }
        for name in &wanted {
            let url = format!("{}/{repo}/resolve/main/{name}", self.endpoint);
            download(&url, self.token.as_deref(), &dir.join(name), progress)?;
        }
        let single = !files.is_empty() && wanted.len() == 1;
        Ok(if single { wanted[0].to_string() } else { String::new() })
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into()
}

/// The token goes to the host it is meant for: redirects to another host lose it.
fn get(url: &str, from: u64, token: Option<&str>) -> Result<ureq::http::Response<ureq::Body>> {
    let failed = |reason: String| HubError::Http { url: url.into(), reason };
    let mut request = agent().get(url);
    if let Some(token) = token {
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

pub fn download(url: &str, token: Option<&str>, target: &Path, progress: Progress) -> Result<()> {
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
    let mut response = get(url, have, token)?;
    // A server that ignores the range sends everything again.
    let resumed = response.status().as_u16() == 206;
    let start = if resumed { have } else { 0 };
    let length = response.body().content_length().map(|rest| start + rest);
    let file = OpenOptions::new().create(true).write(true).append(resumed).truncate(!resumed).open(part);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let mut file = file.map_err(io_error(part))?;
    let got = copy(response.body_mut().as_reader(), &mut file, start, |done| progress(&name, done, length))
        .map_err(|error| HubError::Http { url: url.into(), reason: error.to_string() })?;
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
            got => {
                to.write_all(&buffer[..got])?;
                done += got as u64;
                tell(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    const WEIGHTS: &[u8] = b"0123456789abcdef";

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

    /// What a test server was asked: the first line, and the header lines.
    type Asked = Arc<Mutex<Vec<Vec<String>>>>;

    /// A hub with one repository. Its weights break off at the first try, as the length it told shows.
    fn hub() -> (HuggingFace, Asked) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &log);
            }
        });
        (HuggingFace { endpoint, token: Some("secret".into()) }, asked)
    }

    fn answer(mut stream: TcpStream, log: &Asked) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(std::result::Result::ok);
        let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let range = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(String::from));
        let from: usize = range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
        let (status, length, body): (_, _, &[u8]) = match lines[0].split(' ').nth(1).unwrap() {
            "/api/models/some/model" => {
                let body = br#"{"siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]}"#;
                ("200 OK", body.len(), body)
            }
            "/some/model/resolve/main/config.json" => ("200 OK", 2, b"{}"),
            "/some/model/resolve/main/model.safetensors" if from == 0 => ("200 OK", WEIGHTS.len(), &WEIGHTS[..6]),
            "/some/model/resolve/main/model.safetensors" => {
                ("206 Partial Content", WEIGHTS.len() - from, &WEIGHTS[from..])
            }
            "/api/models/some/gated" => ("403 Forbidden", 0, b""),
            _ => ("404 Not Found", 0, b""),
        };
        log.lock().unwrap().push(lines);
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).unwrap();
    }

    #[test]
    fn a_download_that_breaks_off_goes_on_where_it_stopped() {
        let (hub, asked) = hub();
        let dir = tempfile::tempdir().unwrap();
        let error = hub.fetch("some/model", &[], dir.path(), &|_, _, _| ()).unwrap_err().to_string();
        assert!(error.contains("/some/model/resolve/main/model.safetensors"), "{error}");
        assert!(!dir.path().join("model.safetensors").exists());
        assert_eq!(fs::read(dir.path().join("model.safetensors.part")).unwrap(), WEIGHTS[..6]);
        assert_eq!(hub.fetch("some/model", &[], dir.path(), &|_, _, _| ()).unwrap(), "");
        assert_eq!(fs::read(dir.path().join("model.safetensors")).unwrap(), WEIGHTS);
        let asked = asked.lock().unwrap();
        let has = |text: &str| asked.iter().flatten().any(|line| line.eq_ignore_ascii_case(text));
        assert!(has("range: bytes=6-") && has("authorization: Bearer secret"), "{asked:?}");
    }

    #[test]
    fn what_to_do_is_said() {
        let (hub, _) = hub();
        let error = |repo| hub.fetch(repo, &[], Path::new("/nowhere"), &|_, _, _| ()).unwrap_err().to_string();
        assert!(error("some/gated").contains("set HF_TOKEN"));
        assert!(error("some/other").contains("not found there"));
    }
}
