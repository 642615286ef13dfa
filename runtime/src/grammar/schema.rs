//! A JSON schema as rules. The order of an object's properties is the schema's; those that are not required may be left out.

use super::chars::CharSet;
use super::expr::{Expr, Named};
use super::json::{Value, quote};
use std::collections::HashMap;

pub fn parse(schema: &Value) -> Result<Named, String> {
    let mut named = Named::default();
    let root = named.declare("root");
    let mut converter = Converter { schema, strict: true, named: &mut named, shared: HashMap::new() };
    let value = converter.value(schema, "")?;
    let space = converter.shared("space");
    named.say(root, Expr::All(vec![space, value]));
    Ok(named)
}

/// JSON that the schema accepts, as a part of other rules. Not `strict`, keywords that cannot be held are passed over.
pub fn add(named: &mut Named, schema: &Value, strict: bool) -> Result<Expr, String> {
    Converter { schema, strict, named, shared: HashMap::new() }.value(schema, "")
}

struct Converter<'s> {
    schema: &'s Value,
    strict: bool,
    named: &'s mut Named,
    /// Rules that several places use: those of JSON itself, and the targets of references.
    shared: HashMap<String, usize>,
}

type Converted = Result<Expr, String>;

/// They say nothing of what is valid.
const ANNOTATIONS: &[&str] = &[
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "format",
    "contentMediaType",
    "contentEncoding",
];

impl Converter<'_> {
    /// `place` is where in the schema, as a JSON pointer.
    fn value(&mut self, schema: &Value, place: &str) -> Converted {
        let entries = match schema {
            Value::Bool(true) => return Ok(self.shared("value")),
            Value::Object(entries) => entries,
            _ => return Err(format!("{}: neither an object nor true", shown(place))),
        };
        let strict = self.strict;
        let keys = |known: &[&str]| match entries.iter().find(|(key, _)| strict && !is_known(key, known)) {
            Some((key, _)) => Err(format!("{}: \"{key}\" is not supported here", shown(place))),
            None => Ok(()),
        };
        if let Some(target) = schema.get("$ref") {
            keys(&["$ref"])?;
            return self.reference(target, place);
        }
        if let Some(value) = schema.get("const") {
            keys(&["const", "type"])?;
            return Ok(literal(value));
        }
        if let Some(values) = schema.get("enum") {
            keys(&["enum", "type"])?;
            return match values {
                Value::Array(values) if !values.is_empty() => Ok(Expr::Any(values.iter().map(literal).collect())),
                _ => Err(format!("{}: \"enum\" is not a list of values", shown(place))),
            };
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            // Beside a type, choices are a further constraint.
            if let Some(choices) = schema.get(key).filter(|_| strict || schema.get("type").is_none()) {
                keys(&[key])?;
                return self.choices(key, choices, place);
            }
        }
        match schema.get("type") {
            Some(Value::Array(types)) => {
                let one = |kind: &Value| self.typed(schema, entries, kind, place, true);
                Ok(Expr::Any(types.iter().map(one).collect::<Result<_, _>>()?))
            }
            Some(kind) => self.typed(schema, entries, kind, place, false),
            None if schema.get("properties").is_some() => {
                self.typed(schema, entries, &Value::String("object".into()), place, false)
            }
            None => keys(&[]).map(|()| self.shared("value")),
        }
    }

    fn typed(
        &mut self,
        schema: &Value,
        entries: &[(String, Value)],
        kind: &Value,
        place: &str,
        one_of_several: bool,
    ) -> Converted {
        let Value::String(kind) = kind else { return Err(format!("{}: \"type\" is not a name", shown(place))) };
        let own: &[&str] = match kind.as_str() {
            "object" => &["properties", "required", "additionalProperties"],
            "array" => &["items", "minItems", "maxItems"],
            "string" => &["minLength", "maxLength"],
            "integer" | "number" | "boolean" | "null" => &[],
            _ => return Err(format!("{}: there is no type \"{kind}\"", shown(place))),
        };
        let all = [
            "properties",
            "required",
            "additionalProperties",
            "items",
            "minItems",
            "maxItems",
            "minLength",
            "maxLength",
        ];
        let known: &[&str] = if one_of_several { &all } else { own };
        for (key, _) in entries {
            if self.strict && key != "type" && !is_known(key, known) {
                return Err(format!("{}: \"{key}\" is not supported for type {kind}", shown(place)));
            }
        }
        match kind.as_str() {
            "object" => self.object(schema, place),
            "array" => self.array(schema, place),
            "string" => self.string(schema, place),
            other => Ok(self.shared(other)),
        }
    }

    fn choices(&mut self, key: &str, choices: &Value, place: &str) -> Converted {
        let Value::Array(choices) = choices else { return Err(format!("{}: \"{key}\" is not a list", shown(place))) };
        let several = key == "allOf" && choices.len() > 1;
        if several && !self.strict {
            return Ok(self.shared("value"));
        }
        if choices.is_empty() || several {
            return Err(format!("{}: \"{key}\" of {} schemas is not supported", shown(place), choices.len()));
        }
        let one = |(i, choice)| self.value(choice, &format!("{place}/{key}/{i}"));
        Ok(Expr::Any(choices.iter().enumerate().map(one).collect::<Result<_, _>>()?))
    }

    /// `#`, `#/$defs/name`: each target is one rule, so that a schema may contain itself.
    fn reference(&mut self, target: &Value, place: &str) -> Converted {
        let Value::String(target) = target else { return Err(format!("{}: \"$ref\" is not a text", shown(place))) };
        if let Some(rule) = self.shared.get(target) {
            return Ok(Expr::Rule(*rule));
        }
        let missing = || format!("{}: \"$ref\" names {target}, which is not in this schema", shown(place));
        let path = target.strip_prefix('#').ok_or_else(missing)?;
        let mut found = self.schema;
        for part in path.split('/').skip(1) {
            found = found.get(&part.replace("~1", "/").replace("~0", "~")).ok_or_else(missing)?;
        }
        let rule = self.named.declare(target.as_str());
        self.shared.insert(target.clone(), rule);
        let expr = self.value(found, path)?;
        self.named.say(rule, expr);
        Ok(Expr::Rule(rule))
    }

    fn string(&mut self, schema: &Value, place: &str) -> Converted {
        let (least, most) = bounds(schema, "minLength", "maxLength", place)?;
        let inside = self.shared("character").repeat(least, most);
        Ok(Expr::All(vec![Expr::text("\""), inside, Expr::text("\"")]))
    }

    fn array(&mut self, schema: &Value, place: &str) -> Converted {
        let (least, most) = bounds(schema, "minItems", "maxItems", place)?;
        let item = match schema.get("items") {
            Some(items) => self.value(items, &format!("{place}/items"))?,
            None => self.shared("value"),
        };
        let item = self.named.add(format!("{}/item", shown(place)), item);
        let space = self.shared("space");
        let more = Expr::All(vec![Expr::text(","), space.clone(), item.clone(), space.clone()]);
        let more = more.repeat(least.saturating_sub(1), most.map(|most| most.saturating_sub(1)));
        let items = Expr::All(vec![item, space.clone(), more]);
        let items = match (least, most) {
            (_, Some(0)) => Expr::empty(),
            (0, _) => items.optional(),
            _ => items,
        };
        Ok(Expr::All(vec![Expr::text("["), space, items, Expr::text("]")]))
    }

    fn object(&mut self, schema: &Value, place: &str) -> Converted {
        let properties: &[(String, Value)] = match schema.get("properties") {
            None => &[],
            Some(Value::Object(properties)) => properties,
            Some(_) => return Err(format!("{}: \"properties\" is not an object", shown(place))),
        };
        let required = self.required(schema, properties, place)?;
        let others = match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            // A schema that lists its properties, be it none, and says nothing of others wants those that it lists.
            None if schema.get("properties").is_some() => None,
            None => Some(self.shared("value")),
            Some(other) => Some(self.value(other, &format!("{place}/additionalProperties"))?),
        };
        let mut members = Vec::new();
        for (name, schema) in properties {
            let value = self.value(schema, &format!("{place}/properties/{name}"))?;
            members
                .push((self.member(literal(&Value::String(name.clone())), value), required.contains(&name.as_str())));
        }
        let others = others.map(|value| {
            let name = self.shared("string");
            self.member(name, value)
        });
        let (open, close, space) = (Expr::text("{"), Expr::text("}"), self.shared("space"));
        let inside = self.members(&members, others, place);
        Ok(Expr::All(vec![open, space, inside, close]))
    }

    fn required<'a>(
        &self,
        schema: &'a Value,
        properties: &[(String, Value)],
        place: &str,
    ) -> Result<Vec<&'a str>, String> {
        let wrong = || format!("{}: \"required\" is not a list of the object's properties", shown(place));
        let names = match schema.get("required") {
            None => return Ok(Vec::new()),
            Some(Value::Array(names)) => names,
            Some(_) => return Err(wrong()),
        };
        let name = |name: &'a Value| match name {
            Value::String(name) if !self.strict || properties.iter().any(|(known, _)| known == name) => {
                Ok(name.as_str())
            }
            _ => Err(wrong()),
        };
        names.iter().map(name).collect()
    }

    fn member(&mut self, name: Expr, value: Expr) -> Expr {
        let space = self.shared("space");
        Expr::All(vec![name, space.clone(), Expr::text(":"), space.clone(), value, space])
    }

    /// The members from each on, behind others or as the first: two rules a member, whatever is left out before it.
    fn members(&mut self, members: &[(Expr, bool)], others: Option<Expr>, place: &str) -> Expr {
        let comma = Expr::All(vec![Expr::text(","), self.shared("space")]);
        let (mut behind, mut first) = (Expr::empty(), Expr::empty());
        if let Some(other) = others {
            behind = Expr::All(vec![comma.clone(), other.clone()]).repeat(0, None);
            first = Expr::All(vec![other, behind.clone()]).optional();
        }
        for (i, (member, required)) in members.iter().enumerate().rev() {
            let rest = self.named.add(format!("{}/behind {i}", shown(place)), behind);
            let with = Expr::All(vec![member.clone(), rest.clone()]);
            let with_comma = Expr::All(vec![comma.clone(), member.clone(), rest.clone()]);
            (behind, first) = match required {
                true => (with_comma, with),
                false => (Expr::Any(vec![with_comma, rest]), Expr::Any(vec![with, first])),
            };
        }
        first
    }

    /// A rule of JSON itself.
    fn shared(&mut self, name: &str) -> Expr {
        if let Some(rule) = self.shared.get(name) {
            return Expr::Rule(*rule);
        }
        let rule = self.named.declare(name);
        self.shared.insert(name.to_string(), rule);
        let expr = self.json(name);
        self.named.say(rule, expr);
        Expr::Rule(rule)
    }

    fn json(&mut self, name: &str) -> Expr {
        let chars = |ranges: &[(char, char)]| Expr::Char(CharSet::of(ranges.iter().copied()));
        let any_of = |set: &str| Expr::Char(CharSet::of(set.chars().map(|c| (c, c))));
        let digits = |least, most| chars(&[('0', '9')]).repeat(least, most);
        match name {
            // A line's end and its indentation, or one space: a model that could go on with spaces for ever might.
            "space" => {
                let line = Expr::All(vec![Expr::text("\n"), any_of(" \t").repeat(0, Some(32))]);
                Expr::Any(vec![Expr::text(" "), line]).optional()
            }
            "null" => Expr::text("null"),
            "boolean" => Expr::Any(vec![Expr::text("true"), Expr::text("false")]),
            "integer" => {
                let several = Expr::All(vec![chars(&[('1', '9')]), digits(0, Some(17))]);
                Expr::All(vec![Expr::text("-").optional(), Expr::Any(vec![Expr::text("0"), several])])
            }
            "number" => {
                let fraction = Expr::All(vec![Expr::text("."), digits(1, Some(17))]).optional();
                let exponent = Expr::All(vec![any_of("eE"), any_of("+-").optional(), digits(1, Some(2))]).optional();
                Expr::All(vec![self.shared("integer"), fraction, exponent])
            }
            "character" => {
                let plain = CharSet::of([('"', '"'), ('\\', '\\'), ('\0', '\x1f')]).complement();
                // No half of a surrogate pair: what is written must be readable.
                let hex = chars(&[('0', '9'), ('a', 'f'), ('A', 'F')]);
                let not_d = chars(&[('0', '9'), ('a', 'c'), ('A', 'C'), ('e', 'f'), ('E', 'F')]);
                let low_d = Expr::All(vec![any_of("dD"), chars(&[('0', '7')]), hex.clone(), hex.clone()]);
                let code = Expr::Any(vec![Expr::All(vec![not_d, hex.clone().repeat(3, Some(3))]), low_d]);
                let code = Expr::All(vec![Expr::text("u"), code]);
                let escape = Expr::All(vec![Expr::text("\\"), Expr::Any(vec![any_of("\"\\/bfnrt"), code])]);
                Expr::Any(vec![Expr::Char(plain), escape])
            }
            "string" => Expr::All(vec![Expr::text("\""), self.shared("character").repeat(0, None), Expr::text("\"")]),
            "array" => self.array(&Value::Object(Vec::new()), "").unwrap_or(Expr::empty()),
            "object" => self.object(&Value::Object(Vec::new()), "").unwrap_or(Expr::empty()),
            _ => {
                let kinds = ["object", "array", "string", "number", "boolean", "null"];
                Expr::Any(kinds.map(|kind| self.shared(kind)).to_vec())
            }
        }
    }
}

fn is_known(key: &str, known: &[&str]) -> bool {
    known.contains(&key) || ANNOTATIONS.contains(&key)
}

fn literal(value: &Value) -> Expr {
    let mut text = String::new();
    match value {
        Value::String(value) => quote(value, &mut text),
        other => other.write(&mut text),
    }
    Expr::text(&text)
}

fn bounds(schema: &Value, least: &str, most: &str, place: &str) -> Result<(u32, Option<u32>), String> {
    let count = |key: &str| match schema.get(key) {
        None => Ok(None),
        Some(Value::Number(text)) if text.parse::<u32>().is_ok() => Ok(text.parse::<u32>().ok()),
        Some(_) => Err(format!("{}: \"{key}\" is not a count", shown(place))),
    };
    Ok((count(least)?.unwrap_or(0), count(most)?))
}

fn shown(place: &str) -> &str {
    if place.is_empty() { "#" } else { place }
}
