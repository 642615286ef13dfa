//! JSON in and out of HTTP.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::error::{ApiError, Result};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A client that sends slower than this holds a connection for nothing.
const BODY_WITHIN: Duration = Duration::from_secs(60);

pub fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The body of a request, which must be a JSON object.
pub async fn read(request: Request, limit: usize) -> Result<Value> {
    if !is_json(request.headers()) {
        let message = "The request must have the header Content-Type: application/json.";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message));
    }
    let bytes = collect(request, limit).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::invalid(format!("The body of the request is not valid JSON: {error}.")))
}

/// A page of another site can have a browser post any body here without asking, but not under this type.
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

async fn collect(request: Request, limit: usize) -> Result<Bytes> {
    let too_large = || {
        let message = format!("The body of the request is larger than the {limit} bytes that this server takes.");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    };
    let late = |_| {
        let message = "The body of the request did not come in time.";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
    };
    let bytes = axum::body::to_bytes(request.into_body(), limit);
    let bytes = tokio::time::timeout(BODY_WITHIN, bytes).await.map_err(late)?;
    bytes.map_err(|error| match is_length_limit(&error) {
        true => too_large(),
        false => ApiError::invalid(format!("The body of the request broke off: {error}.")),
    })
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}
