//! Downloads over HTTP: into a `.part` file that a later try resumes, renamed when its length and hash are right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ring::digest;

use super::{Event, HubError, Progress, Result, io_error};

pub struct Client {
    agent: ureq::Agent,
    token: Option<String>,
    limits: Limits,
}

/// How patient a download is.
pub struct Limits {
    /// Silence after which a connection counts as dead.
    pub stall: Duration,
    /// Connections for a file; each goes on where the last one stopped.
    pub tries: u32,
    /// Between two of them, growing.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stall: Duration::from_secs(30), tries: 5, pause: Duration::from_secs(1) }
    }
}

/// What is known of a file before it comes.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub size: Option<u64>,
    pub digest: Option<Digest>,
}

/// In hexadecimal.
#[derive(Clone, Debug)]
pub enum Digest {
    Sha256(String),
    /// SHA-1 of `blob LENGTH\0` and the bytes.
    GitBlob(String),
}

/// Why a connection gave no whole file.
enum Broken {
    /// Another try may go on.
    Retry(String),
    Final(HubError),
}

impl From<HubError> for Broken {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

impl Client {
    pub fn new(token: Option<String>) -> Client {
        Client::with_limits(token, Limits::default())
    }

    pub fn with_limits(token: Option<String>, limits: Limits) -> Client {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(limits.stall))
            .http_status_as_error(false)
            .build()
            .into();
        Client { agent, token, limits }
    }

    /// A small page.
    pub fn text(&self, url: &str) -> Result<String> {
        let mut tries = self.limits.tries;
        loop {
            let page = self.get(url, 0).and_then(|mut page| {
                page.body_mut().read_to_string().map_err(|error| Broken::Retry(error.to_string()))
            });
            match page {
                Ok(text) => return Ok(text),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Retry(reason)) if tries <= 1 => return Err(http_error(url, reason)),
                Err(Broken::Retry(_)) => tries -= 1,
            }
            thread::sleep(self.limits.pause);
        }
    }

    /// Fetches into `target` unless it is there.
    pub fn download(&self, url: &str, target: &Path, expected: &Expected, progress: Progress) -> Result<()> {
        if let Ok(there) = fs::metadata(target) {
            progress(Event::Expect(there.len()));
            progress(Event::Got(there.len()));
            return Ok(());
        }
        if let Some(dir) = target.parent() {
            fs::create_dir_all(dir).map_err(io_error(dir))?;
        }
        let mut part = Part::open(target, expected.size, progress)?;
        let mut reason = String::new();
        for attempt in 0..self.limits.tries {
            thread::sleep(self.limits.pause * attempt);
            match self.go_on(url, &mut part, progress) {
                Ok(()) => return part.finish(url, target, expected),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Retry(why)) => reason = why,
            }
        }
        let kept = format!("{reason}; {} bytes are kept, run again to go on", part.have);
        Err(http_error(url, kept))
    }

    /// One connection, which brings what is missing or breaks.
    fn go_on(&self, url: &str, part: &mut Part, progress: Progress) -> std::result::Result<(), Broken> {
        if part.is_whole() {
            return Ok(());
        }
        let response = self.get(url, part.have)?;
        match response.status().as_u16() {
            206 => {}
            // The server has nothing after what we have, or ignores the range and sends everything again.
            416 => {
                part.restart(progress)?;
                return Err(Broken::Retry("the server has less than what was here already".into()));
            }
            _ => part.restart(progress)?,
        }
        let length = response.body().content_length().map(|rest| part.have + rest);
        part.told(length, progress);
        let pieces = pieces(response.into_body().into_reader());
        loop {
            match pieces.recv_timeout(self.limits.stall) {
                Ok(Ok(piece)) => part.add(&piece, progress)?,
                Ok(Err(error)) => return Err(Broken::Retry(format!("broke off: {error}"))),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Broken::Retry(format!("silent for {} s", self.limits.stall.as_secs_f64())));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match length {
            Some(length) if part.have < length => {
                Err(Broken::Retry(format!("broke off after {} of {length} bytes", part.have)))
            }
            _ => Ok(()),
        }
    }

    /// The token goes to the host it is meant for: redirects to another host lose it.
    fn get(&self, url: &str, from: u64) -> std::result::Result<ureq::http::Response<ureq::Body>, Broken> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| unreachable_reason(url, &error))?;
        let code = response.headers().get("X-Error-Code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let failed = |reason: &str| Err(Broken::Final(http_error(url, reason)));
        match response.status().as_u16() {
            200 | 206 | 416 => Ok(response),
            status @ (401 | 403 | 404) => failed(refusal(status, code, self.token.is_some())),
            status @ (429 | 500..) => Err(Broken::Retry(format!("the server answered {status}"))),
            status => failed(&format!("the server answered {status}")),
        }
    }
}

/// What to do about a refusal. The hub says 401 of what is not there, too, to those it does not know; its `X-Error-Code` tells them apart.
fn refusal(status: u16, code: &str, has_token: bool) -> &'static str {
    match (status, code, has_token) {
        (_, "GatedRepo", false) | (403, _, false) => {
            "access is gated: accept the licence on the model's page, then give a token with --hf-token, in HF_TOKEN, or by `hf auth login`"
        }
        (_, "GatedRepo", true) | (403, _, true) => {
            "access is gated, and the token does not open it: accept the licence on the model's page, as the user whose token it is"
        }
        (404, ..) | (401, "RepoNotFound", _) => {
            "not found there: is the name right, and if it is private, is a token given (--hf-token)?"
        }
        (_, _, true) => {
            "the token is refused: is it whole, and still valid? It is that of --hf-token, else HF_TOKEN, else what `hf auth login` left"
        }
        (_, _, false) => {
            "not shown to strangers: is the name right? If it is gated or private, give a token with --hf-token, in HF_TOKEN, or by `hf auth login`"
        }
    }
}

fn http_error(url: &str, reason: impl Into<String>) -> HubError {
    HubError::Http { url: url.into(), reason: reason.into() }
}

fn unreachable_reason(url: &str, error: &ureq::Error) -> Broken {
    match error {
        ureq::Error::HostNotFound => Broken::Final(http_error(url, "no such host: is there a network?")),
        // The system's resolver has no kind of its own.
        ureq::Error::Io(error) if error.to_string().contains("lookup") => {
            Broken::Final(http_error(url, format!("{error}: is there a network?")))
        }
        ureq::Error::BadUri(_) => Broken::Final(http_error(url, error.to_string())),
        _ => Broken::Retry(error.to_string()),
    }
}

/// What a reader gives, read in a thread of its own: a read that never ends cannot be interrupted, but it can be left behind.
fn pieces(mut from: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (to, pieces) = mpsc::sync_channel(4);
    thread::spawn(move || {
        loop {
            let mut piece = vec![0; 1 << 18];
            let got = from.read(&mut piece).map(|got| piece.truncate(got));
            let end = got.is_err() || piece.is_empty();
            if (got.is_err() || !piece.is_empty()) && to.send(got.map(|()| piece)).is_err() || end {
                return;
            }
        }
    });
    pieces
}

/// What is here of a file.
struct Part {
    path: PathBuf,
    file: File,
    have: u64,
    /// What was announced to come in all, as far as anybody has said.
    announced: u64,
    size: Option<u64>,
}

impl Part {
    fn open(target: &Path, size: Option<u64>, progress: Progress) -> Result<Part> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io_error(&path))?;
        let have = file.metadata().map_err(io_error(&path))?.len();
        let mut part = Part { path, file, have, announced: 0, size };
        part.announce(size.unwrap_or(have), progress);
        progress(Event::Got(have));
        Ok(part)
    }

    fn is_whole(&self) -> bool {
        self.size == Some(self.have)
    }

    fn announce(&mut self, bytes: u64, progress: Progress) {
        if bytes > self.announced {
            progress(Event::Expect(bytes - self.announced));
            self.announced = bytes;
        }
    }

    /// The server said how long the file is; the repository's word counts more.
    fn told(&mut self, length: Option<u64>, progress: Progress) {
        if let (None, Some(length)) = (self.size, length) {
            self.announce(length, progress);
        }
    }

    fn add(&mut self, piece: &[u8], progress: Progress) -> Result<()> {
        self.file.write_all(piece).map_err(io_error(&self.path))?;
        self.have += piece.len() as u64;
        self.announce(self.have, progress);
        progress(Event::Got(piece.len() as u64));
        Ok(())
    }

    fn restart(&mut self, progress: Progress) -> Result<()> {
        if self.have == 0 {
            return Ok(());
        }
        self.file.set_len(0).map_err(io_error(&self.path))?;
        progress(Event::Lost(self.have));
        self.have = 0;
        Ok(())
    }

    /// Verifies and names it. What is not what was promised goes.
    fn finish(self, url: &str, target: &Path, expected: &Expected) -> Result<()> {
        if let Err(reason) = self.verify(expected)? {
            fs::remove_file(&self.path).map_err(io_error(&self.path))?;
            return Err(http_error(url, format!("came damaged, and was thrown away: {reason}; run again")));
        }
        self.file.sync_all().map_err(io_error(&self.path))?;
        fs::rename(&self.path, target).map_err(io_error(target))
    }

    fn verify(&self, expected: &Expected) -> Result<std::result::Result<(), String>> {
        if let Some(size) = expected.size.filter(|size| *size != self.have) {
            return Ok(Err(format!("{} bytes instead of {size}", self.have)));
        }
        let (mut context, promised, name) = match &expected.digest {
            None => return Ok(Ok(())),
            Some(Digest::Sha256(hex)) => (digest::Context::new(&digest::SHA256), hex, "SHA-256"),
            Some(Digest::GitBlob(hex)) => {
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", self.have).as_bytes());
                (context, hex, "git's hash")
            }
        };
        let mut file = File::open(&self.path).map_err(io_error(&self.path))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(io_error(&self.path))? {
                0 => break,
                got => context.update(&buffer[..got]),
            }
        }
        let hex: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let same = hex.eq_ignore_ascii_case(promised);
        Ok(if same { Ok(()) } else { Err(format!("its {name} is {hex}, not {promised}")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::{Page, Server, quick};

    const TEXT: &str = "0123456789abcdef";

    /// What a download of these pages, one a connection, comes to.
    fn download(pages: Vec<Page>, expected: &Expected) -> std::result::Result<String, String> {
        let server = Server::new(vec![("/file", pages)]);
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        let done = quick(None).download(&format!("{}/file", server.endpoint), &target, expected, &|_| ());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(target.exists(), done.is_ok(), "{left:?}");
        done.map(|()| fs::read_to_string(&target).unwrap()).map_err(|error| error.to_string())
    }

    fn sized(size: u64) -> Expected {
        Expected { size: Some(size), digest: None }
    }

    #[test]
    fn silence_breaks_and_ignored_ranges_are_got_over() {
        let page = || Page::text(TEXT);
        for pages in [
            vec![page()],
            vec![page().cut(3), page().cut(4), page()],
            vec![page().stall(5), page()],
            vec![page().cut(7), page().without_ranges()],
            vec![Page::status("503 Service Unavailable"), page()],
            // It had more before than it has now.
            vec![Page::text(&TEXT.repeat(2)).cut(20), page()],
        ] {
            assert_eq!(download(pages, &Expected::default()).as_deref(), Ok(TEXT));
        }
    }

    #[test]
    fn lasting_silence_is_given_up() {
        for page in [Page::text(TEXT).without_ranges().stall(5), Page::mute()] {
            let said = download(vec![page], &Expected::default()).unwrap_err();
            assert!(said.contains("silent for 0.2 s; ") || said.contains("timeout"), "{said}");
            assert!(said.ends_with(" bytes are kept, run again to go on"), "{said}");
        }
    }

    #[test]
    fn a_redirect_is_followed_without_the_token() {
        let there = Server::new(vec![("/there", vec![Page::text(TEXT)])]);
        let here = Server::new(vec![("/file", vec![Page::redirect(&format!("{}/there", there.endpoint))])]);
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        let client = Client::new(Some("secret".into()));
        client.download(&format!("{}/file", here.endpoint), &target, &sized(16), &|_| ()).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), TEXT);
        let sent = "authorization: Bearer secret";
        assert!(here.was_sent(sent) && there.requests() == 1 && !there.was_sent(sent));
        let round = download(vec![Page::redirect("/file")], &sized(16)).unwrap_err();
        assert!(round.contains("redirect"), "{round}");
    }

    /// A device that is always full stands for a disk that is.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_named() {
        let server = Server::new(vec![("/file", vec![Page::text(TEXT)])]);
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        std::os::unix::fs::symlink("/dev/full", dir.path().join("file.part")).unwrap();
        let full =
            Client::new(None).download(&format!("{}/file", server.endpoint), &target, &sized(16), &|_| ()).unwrap_err();
        assert!(full.to_string().contains("file.part: the disk is full: make room"), "{full}");
        assert_eq!((server.requests(), target.exists()), (1, false), "another try would not help");
    }

    #[test]
    fn lengths_that_lie_are_found_out() {
        let short = download(vec![Page::text(TEXT).claims(99)], &Expected::default()).unwrap_err();
        assert!(short.contains("bytes are kept, run again to go on"), "{short}");
        let long = download(vec![Page::text(TEXT).claims(4)], &sized(16)).unwrap_err();
        assert!(long.contains("4 bytes instead of 16"), "{long}");
        let more = download(vec![Page::text(TEXT)], &sized(8)).unwrap_err();
        assert!(more.contains("16 bytes instead of 8"), "{more}");
    }

    #[test]
    fn what_to_do_is_said_at_once() {
        let status = |status| download(vec![Page::status(status)], &Expected::default()).unwrap_err();
        assert!(status("403 Forbidden").contains("accept the licence"));
        assert!(status("401 Unauthorized\r\nX-Error-Code: GatedRepo").contains("accept the licence"));
        assert!(status("401 Unauthorized\r\nX-Error-Code: RepoNotFound").contains("not found there"));
        assert!(status("401 Unauthorized").contains("give a token"));
        assert!(status("404 Not Found").contains("not found there"));
        assert!(status("400 Bad Request").ends_with("the server answered 400"));
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(401, "", true).contains("the token is refused"));
        assert!(refusal(403, "GatedRepo", true).contains("the token does not open it"));
        let dead = quick(None).download("http://127.0.0.1:1/x", &dir.path().join("x"), &sized(1), &|_| ());
        assert!(dead.unwrap_err().to_string().starts_with("http://127.0.0.1:1/x: "));
    }
}
