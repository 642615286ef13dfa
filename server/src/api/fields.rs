//! Reading a request's parameters: absent and `null` are the same, unknown ones are passed over, and a wrong one is named.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::{ApiError, Result};

/// An object of a request, and where it stands in it.
#[derive(Clone)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

/// A value of a request, and where it stands in it.
pub struct Item<'a> {
    pub value: &'a Value,
    pub path: String,
}

impl<'a> Fields<'a> {
    pub fn of_body(body: &'a Value) -> Result<Fields<'a>> {
        let map = body.as_object();
        let map = map.ok_or_else(|| {
            ApiError::invalid(format!("The body of the request must be an object, not {}.", kind(body)))
        })?;
        Ok(Fields { map, path: String::new() })
    }

    /// What errors call a field.
    pub fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    pub fn get(&self, field: &str) -> Option<Item<'a>> {
        let value = self.map.get(field).filter(|value| !value.is_null())?;
        Some(Item { value, path: self.name(field) })
    }

    pub fn required(&self, field: &str) -> Result<Item<'a>> {
        self.get(field).ok_or_else(|| {
            let name = self.name(field);
            let message = format!("Missing required parameter: '{name}'.");
            ApiError::invalid(message).param(name).code("missing_required_parameter")
        })
    }

    pub fn str(&self, field: &str) -> Result<Option<&'a str>> {
        self.get(field).map(|item| item.str()).transpose()
    }

    pub fn bool(&self, field: &str) -> Result<Option<bool>> {
        let read = |item: Item<'a>| item.value.as_bool().ok_or_else(|| item.wrong("a boolean"));
        self.get(field).map(read).transpose()
    }

    pub fn object(&self, field: &str) -> Result<Option<Fields<'a>>> {
        self.get(field).map(|item| item.object()).transpose()
    }

    pub fn array(&self, field: &str) -> Result<Option<Vec<Item<'a>>>> {
        self.get(field).map(|item| item.array()).transpose()
    }

    pub fn number(&self, field: &str, range: RangeInclusive<f64>) -> Result<Option<f32>> {
        self.get(field).map(|item| item.number(&range)).transpose()
    }

    pub fn integer(&self, field: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(item) = self.get(field) else { return Ok(None) };
        // 3.0 is an integer to JSON.
        let whole = item.value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n)).map(|n| n as u64);
        match item.value.as_u64().or(whole) {
            Some(value) if range.contains(&value) => Ok(Some(value)),
            None if !item.value.is_number() => Err(item.wrong("an integer")),
            _ => Err(item.out_of_range(format_args!("an integer from {} to {}", range.start(), range.end()))),
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> {
        self.map.iter().map(|(key, value)| (key.as_str(), Item { value, path: self.name(key) }))
    }
}

impl<'a> Item<'a> {
    pub fn str(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    pub fn object(&self) -> Result<Fields<'a>> {
        let map = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        Ok(Fields { map, path: self.path.clone() })
    }

    pub fn array(&self) -> Result<Vec<Item<'a>>> {
        let values = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        let item = |(i, value)| Item { value, path: format!("{}[{i}]", self.path) };
        Ok(values.iter().enumerate().map(item).collect())
    }

    pub fn number(&self, range: &RangeInclusive<f64>) -> Result<f32> {
        match self.value.as_f64() {
            Some(value) if range.contains(&value) => Ok(value as f32),
            Some(_) => Err(self.out_of_range(format_args!("a number from {} to {}", range.start(), range.end()))),
            None => Err(self.wrong("a number")),
        }
    }

    /// The error of a value that has the wrong type.
    pub fn wrong(&self, expected: &str) -> ApiError {
        let Item { value, path } = self;
        let message = format!("Invalid type for '{path}': expected {expected}, but got {} instead.", kind(value));
        ApiError::invalid(message).param(path).code("invalid_type")
    }

    /// The error of a value that has the right type and makes no sense.
    pub fn invalid(&self, why: impl std::fmt::Display) -> ApiError {
        let message = format!("Invalid value for '{}': {why}.", self.path);
        ApiError::invalid(message).param(&self.path).code("invalid_value")
    }

    fn out_of_range(&self, expected: std::fmt::Arguments<'_>) -> ApiError {
        self.invalid(format_args!("expected {expected}, but got {}", self.value))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
