//! Texts that a request brings to be gone on from, or to be embedded.

use serde_json::Value;
use tcrt::prompt;

use super::error::Result;
use super::fields::{Fields, Item};
use super::replies::check_prompt;
use crate::served::Served;

/// A prompt, as tokens and as what it is a text of.
pub struct Text {
    pub tokens: Vec<u32>,
    pub text: String,
}

/// A text, tokens, or an array of either.
pub fn read(fields: &Fields<'_>, param: &str, served: &Served) -> Result<Vec<Text>> {
    let item = fields.required(param)?;
    let several = match item.value {
        Value::String(_) => false,
        Value::Array(values) if values.is_empty() => return Err(item.invalid("it is empty")),
        Value::Array(values) => !values[0].is_number(),
        _ => return Err(item.wrong("a string or an array")),
    };
    let prompts = match several {
        true => item.array()?.iter().map(|item| text(item, served)).collect::<Result<Vec<_>>>()?,
        false => vec![text(&item, served)?],
    };
    prompts.iter().try_for_each(|prompt| check_prompt(served, &prompt.tokens, param))?;
    Ok(prompts)
}

fn text(item: &Item<'_>, served: &Served) -> Result<Text> {
    if let Value::String(text) = item.value {
        let tokens = prompt::plain(&served.tokenizer, text);
        return Ok(Text { tokens, text: text.clone() });
    }
    let token = |item: &Item<'_>| {
        let id = item.value.as_u64().ok_or_else(|| item.wrong("a token id"))?;
        let id = u32::try_from(id).ok().filter(|id| (*id as usize) < served.vocab);
        id.ok_or_else(|| item.invalid("it is no token of this model"))
    };
    let tokens = item.array()?.iter().map(token).collect::<Result<Vec<u32>>>()?;
    let text = String::from_utf8_lossy(&served.tokenizer.decode_with(&tokens, false)).into_owned();
    Ok(Text { tokens, text })
}
