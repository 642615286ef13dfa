//! `/v1/embeddings`: a text's hidden states after the model's last norm, made one vector of length one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::error::{ApiError, Result};
use super::fields::Fields;
use super::json::json_response;
use super::params::{Caller, Params};
use super::prompts;
use super::replies::{Replies, aside};
use crate::engine::{Event, Failure, Pooling, Request};
use crate::served::Served;

/// OpenAI's limit.
const MOST_INPUTS: usize = 2048;
/// How soon a request that has begun asks again for places that others have.
const AGAIN: Duration = Duration::from_millis(20);

struct Embeddings {
    requests: Vec<Request>,
    dimensions: usize,
    base64: bool,
    deadline: Option<Instant>,
}

pub async fn embeddings(served: Arc<Served>, body: Value, caller: Caller) -> Result<Response> {
    let asked = aside({
        let served = Arc::clone(&served);
        move || Embeddings::read(&Fields::of_body(&body)?, &served, &caller)
    })
    .await?;
    let tokens: usize = asked.requests.iter().map(|request| request.prompt.len()).sum();
    let mut data = Vec::new();
    // As many at a time as may run, however many there are.
    for group in asked.requests.chunks(served.engine.concurrency()) {
        let mut vectors = vec![Vec::new(); group.len()];
        let mut replies = asked.ask(&served, group, data.is_empty()).await?;
        while let Some((index, event)) = replies.next().await? {
            if let Event::Embedding(vector) = event {
                vectors[index] = unit(vector, asked.dimensions);
            }
        }
        for vector in vectors {
            data.push(json!({ "object": "embedding", "index": data.len(), "embedding": asked.written(&vector) }));
        }
    }
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Ok(json_response(StatusCode::OK, &json!({ "object": "list", "data": data, "model": served.id, "usage": usage })))
}

impl Embeddings {
    fn read(fields: &Fields<'_>, served: &Served, caller: &Caller) -> Result<Embeddings> {
        if served.hidden == 0 {
            let message = format!(
                "The model '{}' gives no embeddings: its artifact does not say where it leaves hidden states. Export it again.",
                served.id
            );
            return Err(ApiError::unsupported("model", message));
        }
        let base64 = match fields.get("encoding_format") {
            None => false,
            Some(item) => match item.str()? {
                "float" => false,
                "base64" => true,
                _ => return Err(item.invalid("expected float or base64")),
            },
        };
        let pooling = match fields.get("pooling") {
            None => Pooling::Mean,
            Some(item) => match item.str()? {
                "mean" => Pooling::Mean,
                "last" => Pooling::Last,
                _ => return Err(item.invalid("expected mean or last")),
            },
        };
        let dimensions = fields.integer("dimensions", 1..=served.hidden as u64)?;
        let inputs = prompts::read(fields, "input", served)?;
        if inputs.len() > MOST_INPUTS {
            return Err(fields.required("input")?.invalid(format_args!("there may be at most {MOST_INPUTS} inputs")));
        }
        let params = Params::default();
        let request = |input: prompts::Text| Request {
            pooling: Some(pooling),
            ..params.request(served, input.tokens, 0, caller)
        };
        Ok(Embeddings {
            requests: inputs.into_iter().map(request).collect(),
            dimensions: dimensions.map_or(served.hidden, |dimensions| dimensions as usize),
            base64,
            deadline: caller.deadline,
        })
    }

    /// Asks for a group of the inputs. Only the first is refused where the server is full; who has begun waits.
    async fn ask(&self, served: &Served, group: &[Request], first: bool) -> Result<Replies> {
        loop {
            match Replies::ask(served, group.to_vec()) {
                Err(error) if error.status == StatusCode::TOO_MANY_REQUESTS && !first => {}
                asked => return asked,
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Failure::TimedOut.into());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn written(&self, vector: &[f32]) -> Value {
        match self.base64 {
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                STANDARD.encode(bytes).into()
            }
            false => vector.iter().map(|value| short(*value)).collect(),
        }
    }
}

/// The first so many values, scaled so that the squares' sum is one.
fn unit(mut vector: Vec<f32>, dimensions: usize) -> Vec<f32> {
    vector.truncate(dimensions);
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|value| (f64::from(*value) * scale) as f32).collect()
}

/// With as many digits as an f32 has, not as the f64 that JSON would make of it.
fn short(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one() {
        assert_eq!(unit(vec![3.0, 4.0, 12.0], 2), [0.6, 0.8]);
        assert_eq!(unit(vec![0.0, 0.0], 2), [0.0, 0.0]);
        assert_eq!(short(0.1).to_string(), "0.1");
    }
}
