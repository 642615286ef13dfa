//! `/v1/models`.

use serde_json::{Value, json};

use super::error::Result;
use super::replies::not_found;
use crate::app::App;
use crate::served::Served;

pub fn list(app: &App) -> Value {
    let models: Vec<Value> = app.models.iter().map(|served| model(served)).collect();
    json!({ "object": "list", "data": models })
}

pub fn one(app: &App, id: &str) -> Result<Value> {
    let found = app.models.iter().find(|served| served.id == id);
    found.map(|served| model(served)).ok_or_else(|| unknown(id))
}

pub fn unknown(id: &str) -> super::ApiError {
    not_found(format!("The model '{id}' does not exist.")).param("model").code("model_not_found")
}

fn model(served: &Served) -> Value {
    json!({
        "id": served.id,
        "object": "model",
        "created": served.created,
        "owned_by": "tcrt",
        "context_length": served.context,
        "embedding_length": served.hidden,
        "chat": served.chat.is_some(),
    })
}
