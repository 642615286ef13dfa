//! Texts and JSON put together: how a function's call is written, for one.

use super::expr::{Expr, Named};
use super::{json, schema};

/// What a text is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Text(String),
    /// JSON that a schema accepts. What of it cannot be held is refused where it is `strict`, and passed over where not.
    Json {
        schema: String,
        strict: bool,
    },
    /// One after another.
    All(Vec<Form>),
    /// One of these.
    Any(Vec<Form>),
    /// As often as it comes, not at all too.
    Repeat(Box<Form>),
}

impl Form {
    pub fn text(text: impl Into<String>) -> Form {
        Form::Text(text.into())
    }
}

pub fn parse(form: &Form) -> Result<Named, String> {
    let mut named = Named::default();
    let root = named.declare("root");
    let expr = expr(&mut named, form)?;
    named.say(root, expr);
    Ok(named)
}

fn expr(named: &mut Named, form: &Form) -> Result<Expr, String> {
    Ok(match form {
        Form::Text(text) => Expr::text(text),
        Form::Json { schema, strict } => schema::add(named, &json::parse(schema)?, *strict)?,
        Form::All(parts) => Expr::All(several(named, parts)?),
        Form::Any(parts) => Expr::Any(several(named, parts)?),
        Form::Repeat(inner) => expr(named, inner)?.repeat(0, None),
    })
}

fn several(named: &mut Named, forms: &[Form]) -> Result<Vec<Expr>, String> {
    forms.iter().map(|form| expr(named, form)).collect()
}
