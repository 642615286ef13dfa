//! The published chat templates, lowered; held to Python's jinja2 by `chat_templates/goldens.py`.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use tcc_core::chat::{Family, Specials, builtin, lower};
use tcrt::chat::{ChatFormat, Message, Piece, Reasoning, Role, Segment, SystemPlace};

#[derive(Deserialize)]
struct Tokens {
    bos: Option<String>,
    eos: Option<String>,
    tokens: Vec<String>,
}

#[derive(Deserialize)]
struct Golden {
    turns: Vec<(char, String)>,
    generation: bool,
    /// None where the template raises.
    text: Option<String>,
}

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chat_templates")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Every template of the folder, lowered once for all tests.
fn lowered() -> &'static BTreeMap<String, ChatFormat> {
    static LOWERED: OnceLock<BTreeMap<String, ChatFormat>> = OnceLock::new();
    LOWERED.get_or_init(lower_all)
}

fn lower_all() -> BTreeMap<String, ChatFormat> {
    let tokens: BTreeMap<String, Tokens> = serde_json::from_str(&read("tokens.json")).unwrap();
    let lower = |name: &str, t: &Tokens| {
        lower(&read(&format!("{name}.jinja")), &specials(t)).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    tokens.iter().map(|(name, t)| (name.clone(), lower(name, t))).collect()
}

fn specials(t: &Tokens) -> Specials<'_> {
    let tokens = t.tokens.iter().map(String::as_str).collect();
    Specials { bos: t.bos.as_deref(), eos: t.eos.as_deref(), tokens }
}

fn render(format: &ChatFormat, turns: &[(char, String)], generation: bool) -> tcrt::Result<String> {
    let message = |(role, content): &(char, String)| {
        let role = match role {
            's' => Role::System,
            'u' => Role::User,
            _ => Role::Assistant,
        };
        (role, content.clone())
    };
    let turns: Vec<_> = turns.iter().map(message).collect();
    let messages: Vec<Message> = turns.iter().map(|(role, content)| Message { role: *role, content }).collect();
    Ok(format.render(&messages, generation)?.iter().map(Segment::as_str).collect())
}

/// A conversation that a template renders and its format refuses is one a format may refuse.
fn may_be_refused(format: &ChatFormat, turns: &[(char, String)]) -> bool {
    let roles: String = turns.iter().map(|t| t.0).collect();
    match roles.as_str() {
        "ua" => !format.may_end_with_reply,
        "uu" => format.must_alternate,
        "uasu" => format.late_system.is_none(),
        _ => false,
    }
}

#[test]
fn every_template_lowers_and_renders_as_in_python() {
    let goldens: BTreeMap<String, Vec<Golden>> = serde_json::from_str(&read("goldens.json")).unwrap();
    let lowered = lowered();
    assert_eq!(goldens.keys().collect::<Vec<_>>(), lowered.keys().collect::<Vec<_>>());
    for (name, format) in lowered {
        for golden in &goldens[name] {
            let rendered = render(format, &golden.turns, golden.generation);
            match (&golden.text, rendered) {
                (Some(text), Ok(rendered)) => assert_eq!(&rendered, text, "{name}: {:?}", golden.turns),
                (None, rendered) => assert!(rendered.is_err(), "{name}: {:?}", golden.turns),
                (Some(_), Err(e)) => assert!(may_be_refused(format, &golden.turns), "{name}: {:?}: {e}", golden.turns),
            }
        }
    }
}

/// What is not obvious from a template, and wrong formats would still print well: where the tokens are, and what is said of the order.
#[test]
fn what_the_formats_say() {
    let formats = lowered();
    let special = |s: &str| Piece::Special(s.into());
    let text = |s: &str| Piece::Text(s.into());
    let llama = &formats["llama3.2"];
    assert_eq!(
        llama.opening[1..5],
        [
            special("<|start_header_id|>"),
            text("system"),
            special("<|end_header_id|>"),
            text("\n\nCutting Knowledge Date: December 2023\nToday Date: ")
        ]
    );
    assert_eq!(llama.opening[5], Piece::Date("%d %b %Y".into()));
    assert_eq!(formats["llama2"].user.prefix, [special("<s>"), text("[INST] ")]);
    assert_eq!(formats["mistral-v0.3"].user.prefix, [special("[INST]"), text(" ")]);
    let place = |name: &str| formats[name].system_place;
    assert_eq!(place("llama2"), SystemPlace::FirstUser);
    assert_eq!(place("mistral-v0.1"), SystemPlace::Refused);
    assert_eq!(place("mistral-v0.3"), SystemPlace::LastUser);
    assert_eq!(place("granite-3.1"), SystemPlace::OwnTurn);
    let deepseek = &formats["deepseek-r1-distill"];
    assert_eq!(deepseek.generation, [special("<｜Assistant｜>"), special("<think>"), text("\n")]);
    assert_eq!(deepseek.reasoning, Some(Reasoning { close: "</think>".into(), trim_newlines: false }));
    assert!(formats["mistral-nemo"].must_alternate && !formats["smollm2"].must_alternate);
    assert!(formats["llama3"].may_end_with_reply && !formats["qwen3"].may_end_with_reply);
    for (name, format) in formats {
        let stop = match name.as_str() {
            "smollm2" | "qwen2.5" | "qwen3" => "<|im_end|>",
            "deepseek-r1-distill" => "<｜end▁of▁sentence｜>",
            name if name.starts_with("llama3") => "<|eot_id|>",
            name if name.starts_with("granite") => "<|end_of_text|>",
            _ => "</s>",
        };
        assert_eq!(format.stop_token_texts(), [stop], "{name}");
        assert!(format.stop_strings().is_empty(), "{name}");
        assert_eq!(&ChatFormat::from_bytes(&format.to_bytes()).unwrap(), format, "{name}");
    }
}

#[test]
fn builtin_formats_are_those_of_the_templates() {
    let tokens: BTreeMap<String, Tokens> = serde_json::from_str(&read("tokens.json")).unwrap();
    let formats = lowered();
    let pairs = [
        ("llama2", "llama2"),
        ("llama3", "llama3"),
        ("mistral-v1", "mistral-v0.2"),
        ("mistral-v3", "mistral-v0.3"),
        ("mistral-tekken", "mistral-nemo"),
    ];
    assert_eq!(pairs.map(|p| p.0), Family::ALL.map(|f| f.0));
    for (family, template) in pairs {
        let family = Family::named(family).unwrap();
        assert_eq!(builtin(family, &specials(&tokens[template])), formats[template], "{family:?}");
    }
}
