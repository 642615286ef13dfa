//! A server of a few pages that can stall, break off, lie and redirect.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{Client, Limits};

#[derive(Clone)]
pub struct Page {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// What `Content-Length` says, where it is not the truth.
    claimed: Option<usize>,
    /// Bytes after which the connection breaks off.
    cut: Option<usize>,
    /// Where it is cut, it stays open and silent instead.
    stalls: bool,
    ranges: bool,
}

impl Page {
    pub fn text(body: &str) -> Page {
        let (status, headers, body) = ("200 OK", String::new(), body.as_bytes().to_vec());
        Page { status, headers, body, claimed: None, cut: None, stalls: false, ranges: true }
    }

    pub fn status(status: &'static str) -> Page {
        Page { status, ..Page::text("") }
    }

    /// Not even a status comes.
    pub fn mute() -> Page {
        Page::status("").stall(0)
    }

    pub fn redirect(to: &str) -> Page {
        Page { headers: format!("Location: {to}\r\n"), ..Page::status("302 Found") }
    }

    pub fn cut(self, after: usize) -> Page {
        Page { cut: Some(after), ..self }
    }

    pub fn stall(self, after: usize) -> Page {
        Page { cut: Some(after), stalls: true, ..self }
    }

    pub fn claims(self, length: usize) -> Page {
        Page { claimed: Some(length), ..self }
    }

    pub fn without_ranges(self) -> Page {
        Page { ranges: false, ..self }
    }

    fn send(&self, mut stream: TcpStream, from: Option<usize>) -> std::io::Result<()> {
        let from = from.filter(|_| self.ranges && self.status.starts_with("200"));
        let (status, body) = match from {
            Some(from) if from >= self.body.len() => ("416 Range Not Satisfiable", &[][..]),
            Some(from) => ("206 Partial Content", &self.body[from..]),
            None => (self.status, &self.body[..]),
        };
        let length = self.claimed.unwrap_or(body.len());
        let headers = &self.headers;
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        if !status.is_empty() {
            stream.write_all(head.as_bytes())?;
        }
        stream.write_all(&body[..self.cut.unwrap_or(body.len()).min(body.len())])?;
        if self.stalls {
            // Until the client gives up and goes.
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let _ = std::io::Read::read(&mut stream, &mut [0]);
        }
        Ok(())
    }
}

/// Pages by path; of several, one an answer, the last one for ever.
pub struct Server {
    pub endpoint: String,
    log: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Server {
    pub fn new(pages: Vec<(&str, Vec<Page>)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::<Mutex<Vec<Vec<String>>>>::default();
        let pages: HashMap<String, Vec<Page>> = pages.into_iter().map(|(path, pages)| (path.into(), pages)).collect();
        let (pages, heard) = (Arc::new(Mutex::new(pages)), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (pages, heard) = (Arc::clone(&pages), Arc::clone(&heard));
                std::thread::spawn(move || answer(stream.unwrap(), &pages, &heard));
            }
        });
        Server { endpoint, log }
    }

    pub fn requests(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    pub fn was_sent(&self, line: &str) -> bool {
        self.log.lock().unwrap().iter().flatten().any(|sent| sent.eq_ignore_ascii_case(line))
    }
}

fn answer(stream: TcpStream, pages: &Mutex<HashMap<String, Vec<Page>>>, log: &Mutex<Vec<Vec<String>>>) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = lines[0].split(' ').nth(1).unwrap().to_string();
    let from = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(String::from));
    let from = from.map(|from| from.trim_end_matches('-').parse().unwrap());
    log.lock().unwrap().push(lines);
    let page = match pages.lock().unwrap().get_mut(&path) {
        Some(pages) if pages.len() > 1 => pages.remove(0),
        Some(pages) => pages[0].clone(),
        None => Page::status("404 Not Found"),
    };
    // A client that has given up is no fault of the server's.
    let _ = page.send(stream, from);
}

/// A client that waits for nothing longer than a test may.
pub fn quick(token: Option<&str>) -> Client {
    let limits = Limits { stall: Duration::from_millis(200), pause: Duration::ZERO, ..Limits::default() };
    Client::with_limits(token.map(String::from), limits)
}
