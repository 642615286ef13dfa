//! What a reply is held to: how a family writes calls, and the form that the answer itself is to have.

use serde_json::Value;
use tcrt::grammar::Form;
use tcrt::{Error, Result};

use super::{Choice, Family, Tool, Tools};
use crate::engine::{Held, Trigger};
use crate::grammars::Said;
use crate::served::Served;

/// `forced` is what of a call the prompt has begun already. `format` is that of an answer which is no call.
pub fn held(served: &Served, tools: Option<&Tools>, forced: &str, format: Option<Said>) -> Result<Option<Held>> {
    let family = served.tools;
    let (said, triggers) = match (tools, format) {
        (None, None) => return Ok(None),
        (None, Some(format)) => (format, Vec::new()),
        (Some(tools), format) => match (&tools.choice, format) {
            (Choice::Auto, None) if !tools.tools.iter().any(|tool| tool.strict) => return Ok(None),
            (Choice::Auto, None) => (Said::Form(part(family, tools)), triggers(family)),
            (Choice::Auto, Some(Said::Form(answer))) => {
                (Said::Form(Form::Any(vec![answer, calls(family, tools)])), Vec::new())
            }
            (Choice::Auto, Some(Said::Grammar(_))) => {
                return Err(Error::invalid_argument("a grammar and tools that may be called exclude each other"));
            }
            (Choice::Required | Choice::Function(_), _) => (Said::Form(calls(family, tools)), Vec::new()),
        },
    };
    Ok(Some(Held { grammar: served.grammars.get(&said)?, begun: forced.to_owned(), triggers }))
}

/// Where a call begins in a text.
fn triggers(family: Family) -> Vec<Trigger> {
    let markers = family.markers();
    let bare = markers.bare.then_some(Trigger { text: "{", first: true });
    std::iter::once(Trigger { text: markers.open, first: false }).chain(bare).collect()
}

/// The part of a text that one such beginning begins.
fn part(family: Family, tools: &Tools) -> Form {
    match family {
        Family::Hermes => block(&call(family, tools)),
        Family::Llama3 | Family::Mistral => calls(family, tools),
    }
}

/// A reply that consists of calls.
fn calls(family: Family, tools: &Tools) -> Form {
    let call = call(family, tools);
    // A choice of one function is a choice of one call.
    let several = tools.parallel && !matches!(tools.choice, Choice::Function(_));
    let repeated = |first: Form, separator: Form| match several {
        false => first,
        true => Form::All(vec![first.clone(), Form::Repeat(Box::new(Form::All(vec![separator, first])))]),
    };
    match family {
        Family::Hermes => repeated(block(&call), optional("\n")),
        Family::Llama3 => Form::All(vec![optional("<|python_tag|>"), repeated(call, Form::text("; "))]),
        Family::Mistral => Form::All(vec![
            Form::text("[TOOL_CALLS]"),
            optional(" "),
            Form::text("["),
            repeated(call, Form::text(", ")),
            Form::text("]"),
        ]),
    }
}

fn block(call: &Form) -> Form {
    Form::All(vec![Form::text("<tool_call>"), optional("\n"), call.clone(), optional("\n"), Form::text("</tool_call>")])
}

/// A call of one of the functions that may be called.
fn call(family: Family, tools: &Tools) -> Form {
    let may = |tool: &&Tool| !matches!(&tools.choice, Choice::Function(name) if *name != tool.name);
    let one = |tool: &Tool| {
        let begin = format!("{{\"name\": {}, \"{}\": ", Value::from(tool.name.as_str()), family.markers().arguments);
        Form::All(vec![Form::Text(begin), tool.arguments.clone(), Form::text("}")])
    };
    Form::Any(tools.tools.iter().filter(may).map(one).collect())
}

fn optional(text: &str) -> Form {
    Form::Any(vec![Form::text(text), Form::text("")])
}
