//! Answers that stream as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::stream::unfold;
use serde_json::Value;

use crate::api::ApiError;
use crate::api::replies::Replies;
use crate::engine::Event;

/// A silent connection gets a comment this often, so that nobody on the way takes it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What of an answer is sent when.
pub trait Writer: Send + 'static {
    /// Before anything has come.
    fn begin(&mut self, out: &mut Frames);
    fn event(&mut self, index: usize, event: Event, out: &mut Frames);
    /// After all replies have ended.
    fn end(&mut self, out: &mut Frames);
    fn error(&mut self, error: ApiError, out: &mut Frames);
}

/// Events on their way out, as bytes.
#[derive(Default)]
pub struct Frames(String);

impl Frames {
    pub fn data(&mut self, data: &Value) {
        self.text(&data.to_string());
    }

    /// What is no JSON, for the end of a stream.
    pub fn text(&mut self, data: &str) {
        self.0 += "data: ";
        self.0 += data;
        self.0 += "\n\n";
    }

    pub fn named(&mut self, name: &str, data: &Value) {
        self.0 += "event: ";
        self.0 += name;
        self.0 += "\n";
        self.data(data);
    }

    fn keep_alive(&mut self) {
        self.0 += ": keep-alive\n\n";
    }
}

struct Running<W> {
    replies: Replies,
    writer: W,
    begun: bool,
    ended: bool,
}

/// The response, whose body ends when all replies have. Dropping it ends them.
pub fn response(replies: Replies, writer: impl Writer) -> Response {
    let running = Running { replies, writer, begun: false, ended: false };
    let body = unfold(running, |mut running| async move {
        let frames = running.next().await?;
        Some((Ok::<_, Infallible>(frames.0), running))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies of the nginx kind pass events on as they come only when told.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl<W: Writer> Running<W> {
    /// The next frames that there is anything in, or the end.
    async fn next(&mut self) -> Option<Frames> {
        let mut out = Frames::default();
        if !std::mem::replace(&mut self.begun, true) {
            self.writer.begin(&mut out);
        }
        while out.0.is_empty() && !self.ended {
            match tokio::time::timeout(KEEP_ALIVE, self.replies.next()).await {
                Err(_) => out.keep_alive(),
                Ok(Ok(Some((index, event)))) => self.writer.event(index, event, &mut out),
                Ok(Ok(None)) => {
                    self.ended = true;
                    self.writer.end(&mut out);
                }
                Ok(Err(error)) => {
                    self.ended = true;
                    self.writer.error(error, &mut out);
                }
            }
        }
        (!out.0.is_empty()).then_some(out)
    }
}
