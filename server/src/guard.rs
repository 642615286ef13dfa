//! What stands before every endpoint: the key, pages of other sites, and the count of answers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    AUTHORIZATION, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::ApiError;
use crate::app::App;
use crate::page;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Whose request it is, for turns in the queue: who asks from one address with one key.
#[derive(Clone, Copy, Debug)]
pub struct Flow(pub u64);

pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let origin = allowed_origin(&app, request.headers());
    let endpoint = endpoint(request.uri().path());
    let mut response = if request.method() == Method::OPTIONS && origin.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else if let Err(error) = authorize(&app, &request).and_then(|()| own_page(&app, request.headers(), &origin)) {
        error.into_response()
    } else {
        let flow = flow(&request);
        request.extensions_mut().insert(flow);
        next.run(request).await
    };
    if let Some(origin) = origin {
        allow(response.headers_mut(), origin);
    }
    app.http.answered(endpoint, response.status().as_u16());
    response
}

/// Paths that nobody serves are counted as one: a client must not fill the memory with names.
fn endpoint(path: &str) -> &'static str {
    match path {
        "/v1/chat/completions" => "/v1/chat/completions",
        "/v1/completions" => "/v1/completions",
        "/v1/responses" => "/v1/responses",
        "/v1/embeddings" => "/v1/embeddings",
        "/health" => "/health",
        "/metrics" => "/metrics",
        path if path.starts_with("/v1/models") => "/v1/models",
        path if page::has(path) => "/",
        _ => "other",
    }
}

fn authorize(app: &App, request: &Request) -> Result<(), ApiError> {
    let keys = &app.options.api_keys;
    let path = request.uri().path();
    if keys.is_empty() || path == "/health" || page::has(path) {
        return Ok(());
    }
    let given = key(request.headers()).unwrap_or_default();
    // Every key is compared, so that the time does not tell which one came close.
    if keys.iter().fold(false, |found, key| found | same(key, given)) {
        return Ok(());
    }
    let message = match given {
        "" => "There is no API key. Send one in the header Authorization: Bearer KEY.",
        _ => "Incorrect API key.",
    };
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message).code("invalid_api_key"))
}

fn key(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// In a time that depends on the lengths alone.
fn same(a: &str, b: &str) -> bool {
    let difference = a.bytes().zip(b.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

fn flow(request: &Request) -> Flow {
    let mut hasher = DefaultHasher::new();
    request.extensions().get::<Peer>().map(|peer| peer.0).hash(&mut hasher);
    key(request.headers()).hash(&mut hasher);
    Flow(hasher.finish())
}

fn allowed_origin(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let allowed = app.options.cors.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes());
    allowed.then(|| origin.clone())
}

/// A site may give its own name this machine's address, and then its pages may ask us without asking first (DNS rebinding). Where no key keeps
/// strangers out, a page must be under an address, where no other site can be, or be allowed by name.
fn own_page(app: &App, headers: &HeaderMap, allowed: &Option<HeaderValue>) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN).filter(|_| allowed.is_none() && app.options.api_keys.is_empty()) else {
        return Ok(());
    };
    if origin.to_str().is_ok_and(under_an_address) {
        return Ok(());
    }
    let message =
        format!("Pages of {} may not ask this server; --cors allows it.", String::from_utf8_lossy(origin.as_bytes()));
    Err(ApiError::new(StatusCode::FORBIDDEN, "invalid_request_error", message).code("origin_not_allowed"))
}

/// Whether an origin's host is an IP address or localhost.
fn under_an_address(origin: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    origin.host().is_some_and(|host| host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok())
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(VARY, HeaderValue::from_static("origin"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization, content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
}
