//! Reading one entry of a recipe: its key and the options in it.

use serde_json::{Map, Value};
use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::Kind;

use super::Group;
use super::error::{RecipeError, Result, unknown};

pub const GROUP_KEYS: [&str; 2] = ["groupsize", "group_size"];
/// Above this a group is wider than any row; it keeps arithmetic on groups small.
const MAX_GROUP: u64 = 1 << 20;

pub struct Entry<'a> {
    /// For messages: the path to the entry.
    pub key: &'a str,
    pub options: &'a Map<String, Value>,
}

impl Entry<'_> {
    /// Refuses options beyond `known`; with `GROUP_KEYS`, `grouped` says.
    pub fn only(&self, known: &[&str], grouped: bool) -> Result<()> {
        let groups = if grouped { &GROUP_KEYS[..] } else { &[] };
        let all = [known, groups].concat();
        match self.options.keys().find(|key| !all.contains(&key.as_str())) {
            Some(key) => Err(unknown(key, Some(self.key), &all)),
            None => Ok(()),
        }
    }

    pub fn bad(&self, option: &str, expected: &str) -> RecipeError {
        let value = self.options.get(option).map_or("missing".to_string(), Value::to_string);
        RecipeError::BadValue { key: format!("{}.{option}", self.key), value, expected: expected.to_string() }
    }

    pub fn flag(&self, option: &str, default: bool) -> Result<bool> {
        match self.options.get(option) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(option, "true or false")),
        }
    }

    pub fn text<T>(&self, option: &str, known: impl Fn(&str) -> Option<T>, expected: &str) -> Result<T> {
        let value = self.options.get(option).and_then(Value::as_str);
        value.and_then(known).ok_or_else(|| self.bad(option, expected))
    }

    /// The kind of so many bits; 1 and 7 are stored in 2 and 8.
    pub fn plain_kind(&self, default: u64, min: bool) -> Result<Kind> {
        let bits = match self.options.get("bitwidth") {
            None => default,
            Some(value) => value.as_u64().unwrap_or_default(),
        };
        let stored = match bits {
            1 => 2,
            7 => 8,
            bits => bits as usize,
        };
        Kind::plain(stored, min).ok_or_else(|| self.bad("bitwidth", "one of 1 to 8"))
    }

    pub fn group(&self, default: Group) -> Result<Group> {
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
