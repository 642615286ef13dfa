//! A chat template, run the way `transformers` runs it.

use super::conversation::{describe, messages, role_name};
use super::{Error, Specials};
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error as JinjaError, ErrorKind, State, context};
use tcrt::chat::{Date, Trim};

/// Stops a template that would run forever; a conversation takes a few thousand steps.
const FUEL: u64 = 2_000_000;
const NAME: &str = "chat";
const DATE: &str = "date of the rendering";

pub struct Template<'a> {
    env: Environment<'static>,
    specials: &'a Specials<'a>,
}

/// What `strftime_now` gives.
#[derive(Clone, Copy)]
pub enum Clock {
    At(Date),
    /// The format asked for, between marks.
    Marked,
}

/// Around a date's format; private use characters, which no template contains.
pub const DATE_MARKS: [char; 2] = ['\u{e0f0}', '\u{e0f1}'];

impl<'a> Template<'a> {
    pub fn new(source: &str, specials: &'a Specials<'a>) -> Result<Self, Error> {
        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_fuel(Some(FUEL));
        env.set_unknown_method_callback(call_method);
        env.add_filter("trim", |text: &str| Trim::BOTH.apply(text).to_owned());
        env.add_filter("tojson", to_json);
        env.add_function("raise_exception", |reason: String| -> Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, reason))
        });
        env.add_function("strftime_now", strftime_now);
        env.add_template_owned(NAME, source.to_owned()).map_err(|e| Error::Template(one_line(&e)))?;
        Ok(Self { env, specials })
    }

    pub fn specials(&self) -> &Specials<'a> {
        self.specials
    }

    pub fn render(&self, turns: &[(char, &str)], generation: bool, clock: Clock) -> Result<String, Error> {
        let failed = |e: JinjaError| Error::Render { conversation: describe(turns), reason: one_line(&e) };
        let turns: Vec<Value> =
            messages(turns).iter().map(|m| context! { role => role_name(m.role), content => m.content }).collect();
        let clock = match clock {
            Clock::At(date) => Value::from_object(Now(date)),
            Clock::Marked => Value::UNDEFINED,
        };
        // `transformers` defines these two whether or not there are any; of the token variables, those that the tokenizer has.
        let mut variables = vec![
            ("messages", Value::from(turns)),
            ("add_generation_prompt", Value::from(generation)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            (DATE, clock),
        ];
        let tokens = [("bos_token", self.specials.bos), ("eos_token", self.specials.eos)];
        variables.extend(tokens.into_iter().filter_map(|(name, text)| Some((name, Value::from(text?)))));
        let template = self.env.get_template(NAME).map_err(failed)?;
        let mut text = Bounded(Vec::new());
        template.render_captured_to(Value::from_iter(variables), &mut text).map_err(failed)?;
        String::from_utf8(text.0).map_err(|e| Error::Template(e.to_string()))
    }
}

/// Stops a template that would print forever; a conversation takes a few hundred bytes.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        const MOST: usize = 1 << 20;
        if self.0.len() + bytes.len() > MOST {
            return Err(std::io::Error::other("the rendering is longer than a mebibyte"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Now(Date);

impl minijinja::value::Object for Now {}

fn strftime_now(state: &State<'_, '_>, format: &str) -> Result<String, JinjaError> {
    let now = state.lookup(DATE).unwrap_or_default();
    let Some(now) = now.downcast_object_ref::<Now>() else {
        return Ok(format!("{}{format}{}", DATE_MARKS[0], DATE_MARKS[1]));
    };
    now.0.format(format).map_err(|e| JinjaError::new(ErrorKind::InvalidOperation, e.to_string()))
}

/// Python's string methods. Those that strip are ours: Rust and Python do not quite agree on what white space is.
fn call_method(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, JinjaError> {
    let trim = match method {
        "strip" => Trim::BOTH,
        "lstrip" => Trim { start: true, end: false },
        "rstrip" => Trim { start: false, end: true },
        _ => Trim::NONE,
    };
    match value.as_str() {
        Some(text) if trim != Trim::NONE && args.is_empty() => Ok(Value::from(trim.apply(text))),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// As `transformers` has it: no HTML escapes. A conversation without tools has only strings to write.
fn to_json(value: &Value, _options: Kwargs) -> Result<String, JinjaError> {
    let text = value
        .as_str()
        .ok_or_else(|| JinjaError::new(ErrorKind::InvalidOperation, "tojson of anything but a string"))?;
    serde_json::to_string(text).map_err(|e| JinjaError::new(ErrorKind::InvalidOperation, e.to_string()))
}

fn one_line(error: &JinjaError) -> String {
    let what = match (std::error::Error::source(error), error.detail()) {
        (Some(cause), _) => cause.to_string(),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => error.kind().to_string(),
    };
    let line = error.line().map_or_else(String::new, |line| format!("line {line}: "));
    (line + &what).replace(['\n', '\r'], " ")
}
