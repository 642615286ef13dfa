//! Reading a recipe from torchchat's JSON. A key or a value that is not known is refused with its name.
//!
//! ```json
//! {"linear:int4": {"groupsize": 32}, "embedding": {"bitwidth": 8, "groupsize": 0},
//!  "precision": {"dtype": "bf16"}, "executor": {"accelerator": "cpu"},
//!  "overrides": [{"layers": "layers.0.*", "linear:int8": {}}, {"layers": "head", "precision": {"dtype": "f16"}}]}
//! ```
//!
//! Beyond torchchat's: `linear:int4` takes `"symmetric": false` for groups with a minimum, `linear:awq`, `overrides`,
//! `linear:kind` and `embedding:kind` for any packed kind by its name, and `"activations": {"dtype": "f32"}`, which keeps the inputs
//! of quantized matrices exact.

use std::path::Path;

use serde_json::{Map, Value};
use tc_kernels::layout::{Format, Kind};

use super::entry::Entry;
use super::error::{RecipeError, Result, unknown};
use super::{Accelerator, Activations, Group, Method, Override, Quantizer, Recipe, Rule, profiles};

const EXAMPLE: &str = r#"{"linear:int4": {"groupsize": 32}}"#;
const LINEAR_KEYS: [&str; 10] = [
    "linear:int4",
    "linear:int8",
    "linear:a8w4dq",
    "linear:8da4w",
    "linear:a8wxdq",
    "linear:afpwx",
    "linear:gptq",
    "linear:hqq",
    "linear:awq",
    "linear:kind",
];
const EMBEDDING_KEYS: [&str; 3] = ["embedding", "embedding:wx", "embedding:kind"];
const OTHER_KEYS: [&str; 7] = ["auto", "calibration", "tune", "precision", "executor", "activations", "overrides"];

/// An entry that asks for activations, by its key.
type Demand = (String, Activations);

impl Recipe {
    /// `text` is JSON, the name of a built-in profile, or the path of a file that holds JSON.
    pub fn from_argument(text: &str) -> Result<Recipe> {
        if text.trim_start().starts_with('{') {
            return Recipe::from_json(text);
        }
        if let Some(json) = profiles::find(text) {
            return Recipe::from_json(json);
        }
        let json = std::fs::read_to_string(Path::new(text)).map_err(|source| RecipeError::Unreadable {
            path: text.to_string(),
            source,
            profiles: profiles::names(),
        })?;
        Recipe::from_json(&json)
    }

    pub fn from_json(json: &str) -> Result<Recipe> {
        let value: Value = serde_json::from_str(json).map_err(RecipeError::NotJson)?;
        let Value::Object(entries) = value else {
            return Err(RecipeError::NotAnObject("the recipe".to_string(), EXAMPLE));
        };
        let (mut recipe, mut demands) = (Recipe::default(), Vec::new());
        for keys in [&LINEAR_KEYS[..], &EMBEDDING_KEYS] {
            let mut named = entries.keys().filter(|key| keys.contains(&key.as_str()));
            if let (Some(one), Some(other)) = (named.next(), named.next()) {
                return Err(RecipeError::Conflict(one.clone(), other.clone()));
            }
        }
        for (key, value) in &entries {
            match key.as_str() {
                "overrides" => recipe.overrides = overrides(value, &mut demands)?,
                _ => recipe.read_entry(&entry(key, value)?, &mut demands)?,
            }
        }
        let formats = entries.keys().find(|key| key.starts_with("linear:") || key.starts_with("embedding"));
        if let (Some(_), Some(other)) = (recipe.auto, formats) {
            return Err(RecipeError::Conflict("auto".to_string(), other.clone()));
        }
        let asked = demands.first().cloned().unwrap_or_default();
        if let Some((key, _)) = demands.iter().find(|(_, activations)| *activations != asked.1) {
            return Err(RecipeError::Conflict(asked.0, key.clone()));
        }
        recipe.activations = asked.1;
        Ok(recipe)
    }

    fn read_entry(&mut self, entry: &Entry, demands: &mut Vec<Demand>) -> Result<()> {
        match entry.key {
            "auto" => self.auto = Some(bits_per_weight(entry)?),
            "calibration" => self.said = Some(count(entry, "said", 1024)?),
            "tune" => self.tune = Some(count(entry, "tokens", 1 << 30)?),
            "precision" => self.dtype = Some(precision(entry)?),
            "executor" => {
                entry.only(&["accelerator"], false)?;
                let known = |name: &str| Accelerator::ALL.into_iter().find(|device| device.name() == name);
                let expected = Accelerator::ALL.map(Accelerator::name).join(", ");
                self.executor = Some(entry.text("accelerator", known, &expected)?);
            }
            "activations" => {
                entry.only(&["dtype"], false)?;
                demands.push((entry.key.to_string(), entry.text("dtype", activations, "int8, int16 or f32")?));
            }
            key if key.starts_with("linear:") => self.linear = Some(linear(key, entry, demands)?),
            _ => self.embedding = Some(embedding(entry)?),
        }
        Ok(())
    }

    /// `--bits-per-weight` says the same as `auto.bits_per_weight`, whose default it replaces.
    pub fn with_bits_per_weight(mut self, bits: f64) -> Result<Recipe> {
        match self.auto {
            Some(_) if BITS.contains(&bits) => self.auto = Some(bits),
            Some(_) => {
                let (key, expected) = ("the bits per weight".to_string(), "between 2 and 16".to_string());
                return Err(RecipeError::BadValue { key, value: bits.to_string(), expected });
            }
            None => {
                return Err(RecipeError::Conflict(
                    "the bits per weight".to_string(),
                    "a recipe without auto".to_string(),
                ));
            }
        }
        Ok(self)
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

const BITS: std::ops::RangeInclusive<f64> = 2.0..=16.0;

fn bits_per_weight(entry: &Entry) -> Result<f64> {
    entry.only(&["bits_per_weight"], false)?;
    let bits = entry.options.get("bits_per_weight").and_then(Value::as_f64);
    bits.filter(|bits| BITS.contains(bits)).ok_or_else(|| entry.bad("bits_per_weight", "between 2 and 16"))
}

/// The only option of an entry: a number up to `most`.
fn count(entry: &Entry, option: &str, most: usize) -> Result<usize> {
    entry.only(&[option], false)?;
    let number = entry.options.get(option).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number <= most).ok_or_else(|| entry.bad(option, &format!("between 0 and {most}")))
}

fn entry<'a>(key: &'a str, value: &'a Value) -> Result<Entry<'a>> {
    let known = [&LINEAR_KEYS[..], &EMBEDDING_KEYS, &OTHER_KEYS].concat();
    match value {
        _ if !known.contains(&key) => Err(unknown(key, None, &known)),
        Value::Object(options) => Ok(Entry { key, options }),
        _ => Err(RecipeError::NotAnObject(key.to_string(), EXAMPLE)),
    }
}

/// The quantizer of an entry `key` of linear matrices; `entry.key` says where it stands.
fn linear(key: &str, entry: &Entry, demands: &mut Vec<Demand>) -> Result<Quantizer> {
    let demand = match key {
        "linear:a8w4dq" | "linear:8da4w" | "linear:a8wxdq" => Some(Activations::Int8),
        "linear:afpwx" => Some(Activations::F32),
        _ => None,
    };
    demands.extend(demand.map(|activations| (entry.key.to_string(), activations)));
    let bits_and = |option: &str, default: bool| {
        entry.only(&["bitwidth", option], true)?;
        entry.plain_kind(4, entry.flag(option, default)?)
    };
    let (kind, group, method) = match key {
        "linear:int4" => {
            entry.only(&["symmetric"], true)?;
            let kind = if entry.flag("symmetric", true)? { Kind::I4 } else { Kind::I4Min };
            (kind, Group::Of(32), Method::Nearest)
        }
        "linear:int8" => {
            entry.only(&["bitwidth"], true)?;
            match entry.plain_kind(8, false)? {
                Kind::I8 => (Kind::I8, Group::Row, Method::Nearest),
                _ => return Err(entry.bad("bitwidth", "8")),
            }
        }
        "linear:a8wxdq" => (bits_and("has_weight_zeros", false)?, Group::Of(128), Method::Nearest),
        "linear:afpwx" => {
            entry.only(&["bitwidth"], true)?;
            (entry.plain_kind(4, true)?, Group::Of(128), Method::Nearest)
        }
        "linear:gptq" => (bits_and("has_weight_zeros", true)?, Group::Of(128), Method::Gptq),
        "linear:awq" => (bits_and("has_weight_zeros", true)?, Group::Of(128), Method::Awq),
        "linear:hqq" => (bits_and("has_weight_zeros", true)?, Group::Of(64), Method::Hqq),
        "linear:kind" => {
            entry.only(&["kind", "method"], true)?;
            let kind = named_kind(entry)?;
            (kind, default_group(kind), method(entry)?)
        }
        _ => {
            entry.only(&[], true)?;
            (Kind::I4, Group::Of(32), Method::Nearest)
        }
    };
    let simple = kind.format().is_some_and(|format| format.min && format.sub == 0);
    match method {
        Method::Hqq if !simple => Err(RecipeError::NoMinima(entry.key.to_string(), kind.name())),
        _ => Ok(Quantizer { kind, group: entry.group(group)?, method }),
    }
}

fn embedding(entry: &Entry) -> Result<Quantizer> {
    let (kind, group) = match entry.key {
        "embedding:wx" => {
            entry.only(&["bitwidth"], true)?;
            (entry.plain_kind(4, true)?, Group::Of(128))
        }
        "embedding:kind" => {
            entry.only(&["kind"], true)?;
            let kind = named_kind(entry)?;
            (kind, default_group(kind))
        }
        _ => {
            entry.only(&["bitwidth"], true)?;
            let kind = entry.plain_kind(8, false)?;
            (kind, if kind == Kind::I8 { Group::Row } else { Group::Of(32) })
        }
    };
    Ok(Quantizer { kind, group: entry.group(group)?, method: Method::Nearest })
}

/// `[{"layers": PATTERN, KEY: {…}}, …]` where KEY is one of the linear ones, or `precision`.
fn overrides(value: &Value, demands: &mut Vec<Demand>) -> Result<Vec<Override>> {
    const EXAMPLE: &str = r#"[{"layers": "layers.0.*", "linear:int8": {}}]"#;
    let bad = |place: String, value: &Value, expected: &str| RecipeError::BadValue {
        key: place,
        value: value.to_string(),
        expected: expected.to_string(),
    };
    let list =
        value.as_array().ok_or_else(|| bad("overrides".to_string(), value, &format!("a list as in {EXAMPLE}")))?;
    let read = |(i, value): (usize, &Value)| {
        let place = format!("overrides[{i}]");
        let shape =
            || bad(place.clone(), value, "a pattern and one format, as in {\"layers\": \"head\", \"linear:int8\": {}}");
        let object = value.as_object().filter(|object| object.len() == 2).ok_or_else(shape)?;
        let layers = object.get("layers").and_then(Value::as_str).ok_or_else(shape)?;
        let (key, options) = object.iter().find(|(key, _)| *key != "layers").ok_or_else(shape)?;
        let rule = rule(key, &format!("{place}.{key}"), entry(key, options)?.options, demands)?;
        Ok(Override { layers: layers.to_string(), rule })
    };
    list.iter().enumerate().map(read).collect()
}

fn rule(key: &str, place: &str, options: &Map<String, Value>, demands: &mut Vec<Demand>) -> Result<Rule> {
    let entry = Entry { key: place, options };
    match key {
        "precision" => Ok(Rule::Float(precision(&entry)?)),
        _ if LINEAR_KEYS.contains(&key) => Ok(Rule::Quantized(linear(key, &entry, demands)?)),
        _ => Err(unknown(key, Some("overrides"), &[&LINEAR_KEYS[..], &["precision"]].concat())),
    }
}

fn named_kind(entry: &Entry) -> Result<Kind> {
    let quantized = |kind: &Kind| kind.is_quantized();
    let names: Vec<&str> = Kind::ALL.into_iter().filter(quantized).map(Kind::name).collect();
    entry.text("kind", |name| Kind::from_name(name).filter(quantized), &names.join(", "))
}

/// Kinds with sub-scales have little in their groups' heads, those with a trellis nothing that a row's parts would not share.
fn default_group(kind: Kind) -> Group {
    match kind.format() {
        Some(format) if format.has_trellis() => Group::Row,
        Some(Format { sub: 1.., .. }) => Group::Of(256),
        _ => Group::Of(32),
    }
}

fn method(entry: &Entry) -> Result<Method> {
    match entry.options.get("method") {
        None => Ok(Method::Nearest),
        Some(_) => {
            let known = |name: &str| Method::ALL.into_iter().find(|method| method.name() == name);
            entry.text("method", known, &Method::ALL.map(Method::name).join(", "))
        }
    }
}

fn precision(entry: &Entry) -> Result<Kind> {
    entry.only(&["dtype"], false)?;
    entry.text("dtype", float_kind, "f32, f16, bf16, fast or fast16")
}

/// The names that torch and people use. What torchchat calls fast is what every CPU of ours has and no weight overflows.
pub(super) fn float_kind(name: &str) -> Option<Kind> {
    match name {
        "f32" | "fp32" | "float32" | "float" => Some(Kind::F32),
        "f16" | "fp16" | "float16" | "half" => Some(Kind::F16),
        "bf16" | "bfloat16" | "fast" | "fast16" => Some(Kind::Bf16),
        _ => None,
    }
}

fn activations(name: &str) -> Option<Activations> {
    match name {
        "int8" => Some(Activations::Int8),
        "int16" => Some(Activations::Int16),
        name => (float_kind(name) == Some(Kind::F32)).then_some(Activations::F32),
    }
}
