//! Reading a JSON object key by key, so that a key nobody asked for is noticed.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A JSON object, and which of its keys have been read.
pub struct Keys<'a> {
    object: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Keys<'a> {
    pub fn new(value: &'a Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("is not a JSON object")?;
        Ok(Self { object, read: RefCell::default() })
    }

    /// The value under a key; a null counts as absent.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        let (key, value) = self.object.get_key_value(key)?;
        self.read.borrow_mut().insert(key);
        Some(value).filter(|value| !value.is_null())
    }

    /// Whether the key is there, if only as null.
    pub fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    pub fn size(&self, key: &str) -> Result<Option<usize>, String> {
        self.typed(key, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, String> {
        self.typed(key, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        self.typed(key, "a string", Value::as_str)
    }

    /// One token or a list of them.
    pub fn tokens(&self, key: &str) -> Result<Vec<u32>, String> {
        let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
        let tokens = self.typed(key, "a token or a list of tokens", |value| match value {
            Value::Array(tokens) => tokens.iter().map(token).collect(),
            one => token(one).map(|token| vec![token]),
        });
        Ok(tokens?.unwrap_or_default())
    }

    pub fn required(&self, key: &str) -> Result<usize, String> {
        self.size(key)?.ok_or_else(|| format!("\"{key}\" is missing"))
    }

    /// Counts keys as read.
    pub fn ignore(&self, keys: &[&str]) {
        for key in keys {
            self.value(key);
        }
    }

    /// Keys that must have one value, where they are there.
    pub fn must_be(&self, key: &str, accepted: &[Value]) -> Result<(), String> {
        match self.value(key) {
            Some(value) if !accepted.iter().any(|accepted| same(accepted, value)) => {
                Err(format!("\"{key}\": {value} is not supported"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses keys that nobody has read and that say something.
    pub fn finish(&self) -> Result<(), String> {
        let read = self.read.borrow();
        match self.object.iter().find(|(key, value)| !read.contains(key.as_str()) && !value.is_null()) {
            Some((key, value)) => Err(format!("the key \"{key}\" ({value}) is unknown and could change the maths")),
            None => Ok(()),
        }
    }

    fn typed<T>(&self, key: &str, what: &str, get: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => get(value).map(Some).ok_or_else(|| format!("\"{key}\": {value} is not {what}")),
        }
    }
}

/// Equality in which 1 and 1.0 are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
