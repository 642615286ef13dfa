//! `/v1/embeddings`: refused. Artifacts give logits; the hidden states that an embedding is made of are no output of theirs, and
//! anything made of logits would not be what a client asks for.

use axum::response::Response;

use super::error::{ApiError, Result};

pub fn embeddings(model: &str) -> Result<Response> {
    let message =
        format!("The model '{model}' gives no embeddings: artifacts for text generation have only logits as output.");
    Err(ApiError::unsupported("model", message))
}
