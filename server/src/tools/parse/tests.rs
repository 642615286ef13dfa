use super::*;

/// All parts of a reply that comes in pieces of this many bytes (cut at characters), neighbouring texts joined.
fn parse(family: Family, parallel: bool, reply: &str, size: usize) -> Vec<Part> {
    let mut parser = Parser::new(family, vec!["add".into(), "now".into()], parallel);
    let mut parts = Vec::new();
    let mut rest = reply;
    while !rest.is_empty() {
        let at = (size..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(at);
        parts.extend(parser.push(piece));
        rest = after;
    }
    parts.extend(parser.finish());
    parts.into_iter().fold(Vec::new(), |mut parts, part| {
        match (parts.last_mut(), part) {
            (Some(Part::Text(last)), Part::Text(text)) => last.push_str(&text),
            (_, part) => parts.push(part),
        }
        parts
    })
}

fn call(name: &str, arguments: &str) -> Part {
    Part::Call { name: name.into(), arguments: arguments.into() }
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

/// The same however the reply is cut.
fn check(family: Family, reply: &str, expected: &[Part]) {
    for size in 1..=reply.len().max(1) {
        assert_eq!(parse(family, true, reply, size), expected, "{reply:?} by {size}");
    }
}

const ADD: &str = r#"{"name": "add", "arguments": {"a": 1.0, "b": 12345678901234567890123}}"#;
const ARGUMENTS: &str = r#"{"a": 1.0, "b": 12345678901234567890123}"#;

#[test]
fn hermes_blocks_are_calls() {
    let add = || call("add", ARGUMENTS);
    check(Family::Hermes, &format!("<tool_call>\n{ADD}\n</tool_call>"), &[add()]);
    let two = format!("Let me see.\n<tool_call>\n{ADD}\n</tool_call>\n<tool_call>{{\"name\": \"now\"}}</tool_call>\n");
    check(Family::Hermes, &two, &[text("Let me see."), add(), call("now", "{}"), text("\n")]);
    check(Family::Hermes, &format!("<tool_call>{ADD}</tool_call>\nDone."), &[add(), text("\nDone.")]);
    // The model stopped before it closed the block.
    check(Family::Hermes, &format!("<tool_call>\n{ADD}"), &[add()]);
}

#[test]
fn what_is_no_sound_call_stays_text() {
    for reply in [
        "",
        "Just text, with < and <tool and { and [.",
        "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1",
        "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call> and more",
        "<tool_call></tool_call>",
        "trailing space \n ",
        "größer <tool_cällé>",
    ] {
        let expected = if reply.is_empty() { vec![] } else { vec![text(reply)] };
        check(Family::Hermes, reply, &expected);
    }
    for reply in ["{\"answer\": 42}", "{broken", " {\"name\": \"other\", \"parameters\": {}}", "<|python_tag|>print(1)"]
    {
        check(Family::Llama3, reply, &[text(reply)]);
    }
    for reply in ["[TOOL_CALLS] nothing", "[TOOL_CALLS][]", "see [TOOL_CALLS", "[TOOL_CALLS][{\"name\": 3}]"] {
        check(Family::Mistral, reply, &[text(reply)]);
    }
}

#[test]
fn llama_writes_json_alone_or_after_its_tag() {
    let one = r#"{"name": "add", "parameters": {"a": "x; y"}}"#;
    let add = || call("add", r#"{"a": "x; y"}"#);
    check(Family::Llama3, one, &[add()]);
    check(Family::Llama3, &format!("\n<|python_tag|>{one}"), &[add()]);
    check(Family::Llama3, &format!("{one}; {{\"name\": \"now\", \"parameters\": {{}}}}"), &[add(), call("now", "{}")]);
    check(Family::Llama3, &format!("Well: <|python_tag|>{one}"), &[text("Well:"), add()]);
    // Braces after text are text.
    check(Family::Llama3, &format!("Well: {one}"), &[text(&format!("Well: {one}"))]);
}

#[test]
fn mistral_writes_a_list() {
    let reply = format!("[TOOL_CALLS] [{ADD}, {{\"name\": \"now\", \"arguments\": {{}}, \"id\": \"123456789\"}}]");
    check(Family::Mistral, &reply, &[call("add", ARGUMENTS), call("now", "{}")]);
}

#[test]
fn a_second_call_is_text_where_only_one_may_be() {
    let reply = format!("<tool_call>{ADD}</tool_call><tool_call>{ADD}</tool_call>");
    let second = format!("<tool_call>{ADD}</tool_call>");
    assert_eq!(parse(Family::Hermes, false, &reply, 7), [call("add", ARGUMENTS), text(&second)]);
}
