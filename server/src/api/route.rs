//! Which request goes where.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::error::{ApiError, Result};
use super::fields::Fields;
use super::json::{json_response, read};
use super::params::Caller;
use super::replies::not_found;
use super::{chat, completions, embeddings, models, responses};
use crate::app::App;
use crate::guard::{Flow, guard};
use crate::metrics;
use crate::page;
use crate::served::Served;

pub fn router(app: Arc<App>) -> Router {
    let guarded = axum::middleware::from_fn_with_state(Arc::clone(&app), guard);
    Router::new()
        .route("/v1/chat/completions", post(|app, flow, request| generate(app, flow, request, chat::chat)))
        .route("/v1/completions", post(|app, flow, request| generate(app, flow, request, completions::completions)))
        .route("/v1/responses", post(|app, flow, request| generate(app, flow, request, responses::responses)))
        .route("/v1/embeddings", post(|app, flow, request| generate(app, flow, request, embeddings::embeddings)))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*id}", get(one_model))
        .route("/", get(page::index))
        .route("/page/{name}", get(page::part))
        .route("/health", get(health))
        .route("/metrics", get(show_metrics))
        .fallback(unknown_url)
        .method_not_allowed_fallback(wrong_method)
        .layer(guarded)
        .with_state(app)
}

/// Reads a request, finds its model, and has it answered.
async fn generate<F: Future<Output = Result<Response>>>(
    State(app): State<Arc<App>>,
    Extension(flow): Extension<Flow>,
    request: Request,
    answer: impl FnOnce(Arc<Served>, Value, Caller) -> F,
) -> Response {
    let caller = Caller { flow: flow.0, deadline: app.deadline() };
    let answered = async {
        let body = read(request, app.options.body_limit).await?;
        let served = choose(&app, &body)?;
        answer(served, body, caller).await
    };
    answered.await.unwrap_or_else(ApiError::into_response)
}

/// The model that a request names; where it names none, the first.
fn choose(app: &App, body: &Value) -> Result<Arc<Served>> {
    let Some(id) = Fields::of_body(body)?.str("model")? else { return Ok(Arc::clone(&app.models[0])) };
    let found = app.models.iter().find(|served| served.id == id);
    found.cloned().ok_or_else(|| models::unknown(id))
}

async fn list_models(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &models::list(&app))
}

async fn one_model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match models::one(&app, &id) {
        Ok(model) => json_response(StatusCode::OK, &model),
        Err(error) => error.into_response(),
    }
}

async fn health(State(app): State<Arc<App>>) -> Response {
    match app.models.iter().all(|served| served.engine.is_alive()) {
        true => json_response(StatusCode::OK, &json!({ "status": "ok" })),
        false => ApiError::gone().into_response(),
    }
}

async fn show_metrics(State(app): State<Arc<App>>) -> Response {
    let engines: Vec<_> = app.models.iter().map(|served| (served.id.as_str(), &*served.engine.metrics)).collect();
    let mut response = metrics::page(&app.http, &engines).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    response
}

pub async fn unknown_url(method: Method, uri: Uri) -> Response {
    not_found(format!("Unknown request URL: {method} {}.", uri.path())).code("unknown_url").into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("Not allowed to {method} {}.", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message).into_response()
}
