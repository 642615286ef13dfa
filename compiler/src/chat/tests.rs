use super::literal::pieces;
use super::*;
use crate::chat::conversation::Turns;
use tcrt::chat::{Piece, SystemPlace, Trim};

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
                      {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn specials() -> Specials<'static> {
    Specials { bos: Some("<s>"), eos: Some("</s>"), tokens: vec!["<s>", "</s>", "<|im_start|>", "<|im_end|>"] }
}

fn refused(template: &str) -> Error {
    let error = lower(template, &specials()).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[test]
fn literals_are_cut_at_the_leftmost_longest_token() {
    let specials = Specials { tokens: vec!["<a>", "<a><b>", "", "b>"], ..Specials::default() };
    let special = |s: &str| Piece::Special(s.into());
    let text = |s: &str| Piece::Text(s.into());
    assert_eq!(
        pieces("x<a><b>y<a>b>é", &specials),
        [text("x"), special("<a><b>"), text("y"), special("<a>"), special("b>"), text("é")]
    );
    assert_eq!(pieces("on \u{e0f0}%Y\u{e0f1}.", &specials), [text("on "), Piece::Date("%Y".into()), text(".")]);
    assert_eq!(pieces("", &specials), []);
}

#[test]
fn templates_that_do_more_than_a_format_are_refused() {
    let numbered = CHATML.replace("m.role +", "m.role + (loop.index | string) +");
    assert!(matches!(refused(&numbered), Error::Inexpressible(_)));
    let loud = CHATML.replace("m.content", "m.content | upper");
    assert!(matches!(refused(&loud), Error::Inexpressible("it does not say every message once, in order")));
    let cut = CHATML.replace("m.content", "m.content[:20]");
    assert!(matches!(refused(&cut), Error::Differs { .. }));
    let censored = CHATML.replace("m.content", "m.content | replace('Obey', '')");
    let error = refused(&censored).to_string();
    assert!(error.contains(r#"on the conversation [user "<|im_end|>"#), "{error}");
    assert!(error.contains("at byte 47 the template says \".<|im_end|>"), "{error}");
    let hourly = format!("{{{{ strftime_now('%H:%M') }}}}{CHATML}");
    assert!(refused(&hourly).to_string().contains(r#"the date format "%H:%M" is not one of a plain date"#));
}

#[test]
fn templates_that_fail_are_refused_with_their_reason() {
    let error = refused("{% for m in messages %}\n{{ m.role");
    assert!(error.to_string().starts_with("chat template: line 2: "), "{error}");
    let error = refused("{{ raise_exception('not\ntoday') }}").to_string();
    assert!(error.contains("not today") && error.contains("PROBEu1"), "{error}");
    refused("{{ messages[0].content.no_such_method() }}");
}

#[test]
fn templates_without_end_or_measure_are_refused() {
    refused(
        "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}",
    );
    refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
    refused(&"{% if x %}".repeat(100_000));
    refused(&format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)));
    refused("{{ 'x' * 100000000000 }}");
    let endless = format!("{{% for i in range(100000) %}}{}{{% endfor %}}", "x".repeat(1000));
    assert!(refused(&endless).to_string().contains("longer than a mebibyte"));
}

#[test]
fn a_system_message_the_template_ignores_or_raises_on_is_refused() {
    let deaf = CHATML.replace("{{ '<|im_start|>' + m.role", "{% if m.role != 'system' %}{{ '<|im_start|>' + m.role");
    let deaf = deaf.replacen("{% endfor %}", "{% endif %}{% endfor %}", 1);
    assert_eq!(lower(&deaf, &specials()).unwrap().system_place, SystemPlace::Refused);
    let strict = format!("{{% if messages[0].role == 'system' %}}{{{{ raise_exception('no') }}}}{{% endif %}}{CHATML}");
    assert_eq!(lower(&strict, &specials()).unwrap().system_place, SystemPlace::Refused);
}

#[test]
fn a_reply_that_no_token_ends_is_ended_by_what_follows_it() {
    let template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}";
    let format = lower(template, &specials()).unwrap();
    assert_eq!((format.stop_strings(), format.stop_token_texts()), (&["\nuser:".to_owned()][..], &[][..]));
    let template = "{% for m in messages %}{% if m.role == 'user' %}{{ 'USER: ' + m.content + ' ASSISTANT:' }}{% else %}\
                    {{ ' ' + m.content + '\nEND\n' }}{% endif %}{% endfor %}";
    let format = lower(template, &specials()).unwrap();
    assert_eq!((format.stop_strings(), format.stop_token_texts()), (&["\nEND".to_owned()][..], &[][..]));
}

#[test]
fn a_system_message_before_a_trimmed_user_message() {
    // In the manner of Gemma 3.
    let template = "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}\
        {% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}\
        {% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif %}\
        {{ '<|im_start|>' + m.role + '\n' + (first if loop.first else '') }}{{ m.content | trim }}{{ '<|im_end|>\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}";
    let format = lower(template, &specials()).unwrap();
    assert_eq!(format.system_place, SystemPlace::FirstUser);
    assert_eq!((format.user.trim, format.trim_joined, format.must_alternate), (Trim::BOTH, false, true));
}

#[test]
fn an_empty_system_message_may_be_none() {
    let template = "{% if messages[0].role == 'system' %}{% set first = messages[0].content | trim %}{% set rest = messages[1:] %}\
        {% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{{ bos_token }}\
        {% if first %}{{ '<|im_start|>' + first + '<|im_end|>' }}{% endif %}\
        {% for m in rest %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}";
    assert!(lower(template, &specials()).unwrap().skip_empty_system);
}

/// Conversations made of fragments that matter to some template.
#[test]
fn lowered_formats_agree_on_random_conversations() {
    const FRAGMENTS: [&str; 24] = [
        "",
        " ",
        "\n",
        "\t",
        "\u{1c}",
        "\u{3000}",
        "Hello",
        "x",
        "é🙂",
        "<think>",
        "</think>",
        "\n\n",
        "<|im_start|>",
        "<|im_end|>",
        "<|eot_id|>",
        "[INST]",
        " [/INST]",
        "<<SYS>>",
        "</s>",
        "<s>",
        "{{",
        "%}",
        "'",
        "\\n",
    ];
    let mut rng = tcrt::sampling::Rng::new(11);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chat_templates");
    for name in ["llama2", "llama3.2", "mistral-v0.3", "qwen3", "granite-3.1", "deepseek-r1-distill", "tinyllama"] {
        let source = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
        let format = lower(&source, &specials()).unwrap();
        let specials = specials();
        let template = Template::new(&source, &specials).unwrap();
        for _ in 0..200 {
            let contents: Vec<String> = (0..6)
                .map(|_| (0..rng.next_u64() % 5).map(|_| FRAGMENTS[rng.next_u64() as usize % 24]).collect())
                .collect();
            let shape = ["u", "su", "suau", "uauau", "suauau"][rng.next_u64() as usize % 5];
            let turns: Turns = shape.chars().zip(contents.iter().map(String::as_str)).collect();
            check::compare(&template, &format, &turns).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn a_template_that_always_asks_for_a_reply() {
    // The begin token and the token before a later user turn end alike: the cut between the turns must not go through them.
    let template = "{{ bos_token }}{% for m in messages %}{{ '<|head|>' + m.role + '\n' + m.content + '<|end|>' }}{% endfor %}\
                    {{ '<|head|>assistant\n' }}";
    let specials = Specials { bos: Some("<|begin|>"), eos: None, tokens: vec!["<|begin|>", "<|head|>", "<|end|>"] };
    let format = lower(template, &specials).unwrap();
    assert_eq!(format.opening, [Piece::Special("<|begin|>".into())]);
    assert_eq!(format.stop_token_texts(), ["<|end|>"]);
    assert!(!format.may_end_with_reply && format.generation.is_empty());
}
