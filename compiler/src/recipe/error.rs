//! What is wrong with a recipe.

#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("recipe {path}: {source} (built-in profiles are {profiles})")]
    Unreadable { path: String, source: std::io::Error, profiles: String },
    #[error("recipe: not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("recipe: {0} must be an object, as in {1}")]
    NotAnObject(String, &'static str),
    #[error("recipe: unknown key {key:?}{inside}; known are {known}")]
    UnknownKey { key: String, inside: String, known: String },
    #[error("recipe: {key} is {value}, but must be {expected}")]
    BadValue { key: String, value: String, expected: String },
    #[error("recipe: {0} and {1} contradict each other")]
    Conflict(String, String),
    #[error("recipe: {0}: hqq finds a minimum for each group, which {1} has not; i4min and its like have")]
    NoMinima(String, &'static str),
    #[error(
        "recipe: overrides: no matrix of this model is called {0:?}; they are called as in layers.0.q, embed, head"
    )]
    NoSuchLayer(String),
    #[error("recipe: {kind} takes rows of a multiple of 32 inputs, and {name} has {cols}; n2, n3 and n4 take any")]
    BrokenStep { name: String, kind: &'static str, cols: usize },
}

pub type Result<T> = std::result::Result<T, RecipeError>;

pub fn unknown(key: &str, inside: Option<&str>, known: &[&str]) -> RecipeError {
    let inside = inside.map_or(String::new(), |outer| format!(" in {outer}"));
    RecipeError::UnknownKey { key: key.to_string(), inside, known: known.join(", ") }
}
