//! Reading a recipe from torchchat's JSON. A key or a value that is not known is refused with its name.
//!
//! ```json
//! {"linear:int4": {"groupsize": 32}, "embedding": {"bitwidth": 8, "groupsize": 0},
//!  "precision": {"dtype": "bf16"}, "executor": {"accelerator": "cpu"}}
//! ```
//!
//! Beyond torchchat's: `linear:int4` takes `"symmetric": false` for groups with a minimum, and
//! `"activations": {"dtype": "f32"}` keeps the inputs of quantized matrices exact.

use std::path::Path;

use serde_json::{Map, Value};
use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::Kind;

use super::{Activations, Group, Quantizer, Recipe};

#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("recipe {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
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
}

type Result<T> = std::result::Result<T, RecipeError>;

const EXAMPLE: &str = r#"{"linear:int4": {"groupsize": 32}}"#;
const KEYS: &[&str] = &[
    "linear:int4",
    "linear:int8",
    "linear:a8w4dq",
    "linear:8da4w",
    "embedding",
    "precision",
    "executor",
    "activations",
];
const GROUP_KEYS: [&str; 2] = ["groupsize", "group_size"];
/// The group where a recipe names none for 4 bits.
const DEFAULT_GROUP: u32 = ACT_GROUP as u32;
/// Above this a group is wider than any row; it keeps arithmetic on groups small.
const MAX_GROUP: u64 = 1 << 20;

impl Recipe {
    /// `text` is JSON, or the path of a file that holds it.
    pub fn from_argument(text: &str) -> Result<Recipe> {
        if text.trim_start().starts_with('{') {
            return Recipe::from_json(text);
        }
        let json = std::fs::read_to_string(Path::new(text))
            .map_err(|source| RecipeError::Unreadable { path: text.to_string(), source })?;
        Recipe::from_json(&json)
    }

    pub fn from_json(json: &str) -> Result<Recipe> {
        let value: Value = serde_json::from_str(json).map_err(RecipeError::NotJson)?;
        let Value::Object(entries) = value else {
            return Err(RecipeError::NotAnObject("the recipe".to_string(), EXAMPLE));
        };
        let mut recipe = Recipe::default();
        let mut linear_key: Option<&str> = None;
        for (key, value) in &entries {
            let Value::Object(options) = value else {
                return Err(match KEYS.contains(&key.as_str()) {
                    true => RecipeError::NotAnObject(key.clone(), EXAMPLE),
                    false => unknown(key, None, KEYS),
                });
            };
            let other = if key.starts_with("linear:") { linear_key.replace(key) } else { None };
            if let Some(other) = other {
                return Err(RecipeError::Conflict(other.to_string(), key.clone()));
            }
            recipe.read_entry(key, options)?;
        }
        // Weights of 4 bits that are named together with int8 activations need those.
        if recipe.activations == Activations::F32 && matches!(linear_key, Some("linear:a8w4dq" | "linear:8da4w")) {
            return Err(RecipeError::Conflict(linear_key.unwrap_or_default().to_string(), "activations".to_string()));
        }
        Ok(recipe)
    }

    fn read_entry(&mut self, key: &str, options: &Map<String, Value>) -> Result<()> {
        let entry = Entry { key, options };
        match key {
            "linear:int4" => {
                entry.only(&["groupsize", "group_size", "symmetric"])?;
                let kind = if entry.flag("symmetric", true)? { Kind::I4 } else { Kind::I4Min };
                self.linear = Some(Quantizer { kind, group: entry.group(Group::Of(DEFAULT_GROUP))? });
            }
            "linear:a8w4dq" | "linear:8da4w" => {
                entry.only(&GROUP_KEYS)?;
                self.linear = Some(Quantizer { kind: Kind::I4, group: entry.group(Group::Of(DEFAULT_GROUP))? });
            }
            "linear:int8" => {
                entry.only(&GROUP_KEYS)?;
                self.linear = Some(Quantizer { kind: Kind::I8, group: entry.group(Group::Row)? });
            }
            "embedding" => {
                entry.only(&["bitwidth", "groupsize", "group_size"])?;
                let (kind, group) = match entry.options.get("bitwidth").map(Value::as_u64) {
                    None | Some(Some(8)) => (Kind::I8, Group::Row),
                    Some(Some(4)) => (Kind::I4, Group::Of(DEFAULT_GROUP)),
                    Some(_) => return Err(entry.bad("bitwidth", "4 or 8")),
                };
                self.embedding = Some(Quantizer { kind, group: entry.group(group)? });
            }
            "precision" => {
                entry.only(&["dtype"])?;
                self.dtype = Some(entry.text("dtype", float_kind, "f32, f16 or bf16")?);
            }
            "executor" => {
                entry.only(&["accelerator"])?;
                entry.text("accelerator", |name| (name == "cpu").then_some(()), "\"cpu\"")?;
            }
            "activations" => {
                entry.only(&["dtype"])?;
                self.activations = entry.text("dtype", activations, "int8 or f32")?;
            }
            _ => return Err(unknown(key, None, KEYS)),
        }
        Ok(())
    }

    /// `--dtype` says the same as the recipe's `precision`.
    pub fn with_dtype(mut self, dtype: Kind) -> Result<Recipe> {
        match self.dtype.replace(dtype) {
            Some(other) if other != dtype => Err(RecipeError::Conflict(
                format!("precision.dtype {}", other.name()),
                format!("the dtype {}", dtype.name()),
            )),
            _ => Ok(self),
        }
    }
}

/// The names that torch and people use.
pub(super) fn float_kind(name: &str) -> Option<Kind> {
    match name {
        "f32" | "fp32" | "float32" | "float" => Some(Kind::F32),
        "f16" | "fp16" | "float16" | "half" => Some(Kind::F16),
        "bf16" | "bfloat16" => Some(Kind::Bf16),
        _ => None,
    }
}

fn activations(name: &str) -> Option<Activations> {
    match name {
        "int8" => Some(Activations::Int8),
        name => (float_kind(name) == Some(Kind::F32)).then_some(Activations::F32),
    }
}

fn unknown(key: &str, inside: Option<&str>, known: &[&str]) -> RecipeError {
    let inside = inside.map_or(String::new(), |outer| format!(" in {outer}"));
    RecipeError::UnknownKey { key: key.to_string(), inside, known: known.join(", ") }
}

/// One entry of a recipe: its key and the options in it.
struct Entry<'a> {
    key: &'a str,
    options: &'a Map<String, Value>,
}

impl Entry<'_> {
    fn only(&self, known: &[&str]) -> Result<()> {
        match self.options.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(unknown(key, Some(self.key), known)),
            None => Ok(()),
        }
    }

    fn bad(&self, option: &str, expected: &str) -> RecipeError {
        let value = self.options.get(option).map_or("missing".to_string(), Value::to_string);
        RecipeError::BadValue { key: format!("{}.{option}", self.key), value, expected: expected.to_string() }
    }

    fn flag(&self, option: &str, default: bool) -> Result<bool> {
        match self.options.get(option) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(option, "true or false")),
        }
    }

    fn text<T>(&self, option: &str, known: impl Fn(&str) -> Option<T>, expected: &str) -> Result<T> {
        let value = self.options.get(option).and_then(Value::as_str);
        value.and_then(known).ok_or_else(|| self.bad(option, expected))
    }

    fn group(&self, default: Group) -> Result<Group> {
        let mut given = GROUP_KEYS.iter().filter_map(|key| Some((*key, self.options.get(*key)?)));
        let Some((key, value)) = given.next() else {
            return Ok(default);
        };
        if given.any(|(_, other)| other != value) {
            return Err(RecipeError::Conflict(format!("{}.groupsize", self.key), format!("{}.group_size", self.key)));
        }
        match value.as_u64() {
            Some(0) => Ok(Group::Row),
            Some(group) if group <= MAX_GROUP && group.is_multiple_of(ACT_GROUP as u64) => Ok(Group::Of(group as u32)),
            _ => Err(self.bad(key, "0 (a whole row) or a multiple of 32")),
        }
    }
}
