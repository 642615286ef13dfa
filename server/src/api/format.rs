//! The form that an answer is to have: `response_format`, the responses endpoint's `text.format`, and `grammar`.

use serde_json::{Value, json};
use tcrt::grammar::Form;

use super::error::{ApiError, Result};
use super::fields::{Fields, Item};
use crate::grammars::Said;
use crate::served::Served;

/// What `response_format` or `text.format` and `grammar` ask for. `nested` is chat's form, where a schema lies in an object of its own.
pub fn read(fields: &Fields<'_>, format: Option<Fields<'_>>, nested: bool, served: &Served) -> Result<Option<Said>> {
    let form = format.map(|format| json_form(&format, nested, served)).transpose()?.flatten();
    let Some(grammar) = fields.get("grammar") else { return Ok(form.map(Said::Form)) };
    if form.is_some() {
        return Err(grammar.invalid("an answer can have one form, and another one is given"));
    }
    let said = Said::Grammar(grammar.str()?.to_owned());
    served.grammars.get(&said).map_err(|error| grammar.invalid(error))?;
    Ok(Some(said))
}

fn json_form(format: &Fields<'_>, nested: bool, served: &Served) -> Result<Option<Form>> {
    let kind = format.required("type")?;
    match kind.str()? {
        "text" => Ok(None),
        "json_object" => {
            let any = json!({ "type": "object" });
            let schema = format.get("schema");
            let place = schema.as_ref().map_or_else(|| format.name("schema"), |item| item.path.clone());
            let item = Item { value: schema.map_or(&any, |item| item.value), path: place };
            json_of(&item, false, served).map(Some)
        }
        "json_schema" => {
            let named = if nested { format.required("json_schema")?.object()? } else { format.clone() };
            let strict = named.bool("strict")?.unwrap_or(false);
            json_of(&named.required("schema")?, strict, served).map(Some)
        }
        _ => Err(kind.invalid("expected text, json_object or json_schema")),
    }
}

/// The form of JSON that the schema at `item` accepts.
pub fn json_of(item: &Item<'_>, strict: bool, served: &Served) -> Result<Form> {
    let form = Form::Json { schema: item.value.to_string(), strict };
    // Alone, so that an error names its place.
    served.grammars.get(&Said::Form(form.clone())).map_err(|error| invalid(item, &error))?;
    Ok(form)
}

fn invalid(item: &Item<'_>, error: &tcrt::Error) -> ApiError {
    let why = error.to_string();
    item.invalid(why.strip_prefix("JSON schema: ").unwrap_or(&why))
}

/// The schema of a function's arguments, which are an object whatever else they are.
pub fn arguments_schema(parameters: Option<&Value>) -> Value {
    let mut schema = parameters.cloned().unwrap_or_else(|| json!({}));
    let has = |key: &str| schema.get(key).is_some();
    if !["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"].into_iter().any(has) {
        schema["type"] = "object".into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_objects() {
        assert_eq!(arguments_schema(None), json!({ "type": "object" }));
        let properties = json!({ "properties": { "a": {} } });
        assert_eq!(arguments_schema(Some(&properties))["type"], "object");
        let reference = json!({ "$ref": "#/$defs/x", "$defs": { "x": {} } });
        assert_eq!(arguments_schema(Some(&reference)), reference);
    }
}
