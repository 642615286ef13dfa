use super::*;
use crate::sampling::Rng;
use crate::tokenizer::{Definition, Kind, MergeOrder, Pattern, Rules as TokenRules, Symbols, Tokenizer};

/// Bytes, and some longer tokens that end in the middle of things.
fn tokenizer() -> (Tokenizer, Vec<Vec<u8>>) {
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    let longer = [
        "\":",
        "\", \"",
        "{\"",
        "\"}",
        "true",
        "fal",
        "null",
        " 1",
        "12",
        "abc",
        "ab",
        "hello world",
        "é",
        "yes",
        "no",
        "abababababababababababababababababababab",
        "],",
        "}}",
    ];
    tokens.extend(longer.iter().map(|text| text.as_bytes().to_vec()));
    tokens.push("😀".as_bytes()[..2].to_vec());
    let kinds = tokens.iter().map(|bytes| (bytes.clone(), Kind::Normal)).chain([(b"</s>".to_vec(), Kind::Control)]);
    let count = tokens.len() as u32 + 1;
    let tokenizer = Tokenizer::new(Definition {
        rules: TokenRules::new(Symbols::Bytes, Pattern::Whole),
        charsmap: None,
        tokens: kinds.collect(),
        merges: MergeOrder::ByToken((0..count).collect()),
    });
    (tokenizer.unwrap(), tokens)
}

struct Reply {
    constraint: Constraint,
    tokens: Vec<Vec<u8>>,
    stop: usize,
}

impl Reply {
    fn new(grammar: &Grammar) -> Reply {
        let (tokenizer, tokens) = tokenizer();
        let stop = tokens.len();
        let constraint = Constraint::new(grammar, &tokenizer, &[stop as u32]).unwrap();
        Reply { constraint, tokens, stop }
    }

    /// Which tokens may come next.
    fn allowed(&mut self) -> Vec<bool> {
        // A model may have more rows than the tokenizer has tokens.
        let mut logits = vec![0.0; self.stop + 100];
        self.constraint.apply(&mut logits).unwrap();
        assert!(logits.split_off(self.stop + 1).iter().all(|logit| *logit == f32::NEG_INFINITY));
        logits.iter().map(|logit| *logit == 0.0).collect()
    }

    fn accept(&mut self, text: &[u8]) -> bool {
        text.iter().all(|byte| self.constraint.accept(u32::from(*byte)).is_ok())
    }
}

/// Whether a whole text is what the grammar says.
fn matches(grammar: &Grammar, text: &str) -> bool {
    let mut reply = Reply::new(grammar);
    reply.accept(text.as_bytes()) && reply.constraint.may_end()
}

/// A text by random choice among what is allowed.
fn random(grammar: &Grammar, seed: u64, most: usize) -> Option<String> {
    let (mut reply, mut rng, mut text) = (Reply::new(grammar), Rng::new(seed), Vec::new());
    for _ in 0..most {
        let allowed = reply.allowed();
        let choices: Vec<usize> = (0..allowed.len()).filter(|id| allowed[*id]).collect();
        assert!(!choices.is_empty(), "nothing may follow {:?}", String::from_utf8_lossy(&text));
        let choice = choices[rng.next_u64() as usize % choices.len()];
        if choice == reply.stop || reply.constraint.is_over() {
            return Some(String::from_utf8(text).unwrap());
        }
        reply.constraint.accept(choice as u32).unwrap();
        text.extend_from_slice(&reply.tokens[choice]);
    }
    None
}

#[test]
fn a_mask_allows_just_the_tokens_that_can_be_accepted() {
    let schema = r#"{"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}, "required": ["name"]}"#;
    let texts = [
        "root ::= (\"ab\" [a-cé😀]* | [^a])+ \"12\"?",
        // What is counted, with and without a token that just fits, and what changes on the way.
        "root ::= ([^\"\\]{2,12} [\"1] | [a-z ]{45} | [a-d]{4} \"12\")+",
        "root ::= [a-cé]{39,41} [^a-c]* [a-y]{3}",
        // What is counted farther than a token reaches: alone, within another count, where it may be empty, beside one like it.
        "root ::= [a-cé]{90,300} \"12\"",
        "root ::= (([a-c]{150} | \"no\"){70,90} \"12\"){2}",
        "root ::= (\"a\"? \"b\"?){200,300} \"yes\" | [a-c]{100}",
    ];
    let gbnf = texts.iter().map(|text| Grammar::gbnf(text).unwrap());
    let grammars: Vec<Grammar> = gbnf.chain([Grammar::json_schema(schema).unwrap()]).collect();
    for (grammar, seed) in grammars.iter().zip(1..) {
        let (mut reply, mut rng) = (Reply::new(grammar), Rng::new(seed));
        for _ in 0..60 {
            let allowed = reply.allowed();
            assert_eq!(allowed[reply.stop], reply.constraint.may_end());
            let state = reply.constraint.state;
            let mut choices = Vec::new();
            for (id, token) in reply.tokens.clone().iter().enumerate() {
                // By the single bytes, each of which is a token too.
                let fits = reply.accept(token);
                assert_eq!(fits, allowed[id], "{:?}", String::from_utf8_lossy(token));
                reply.constraint.state = state;
                choices.extend(fits.then_some(id as u32));
            }
            if choices.is_empty() {
                break;
            }
            reply.constraint.accept(choices[rng.next_u64() as usize % choices.len()]).unwrap();
        }
    }
}

#[test]
fn a_long_count_needs_few_masks() {
    let (mut reply, mut rng) = (Reply::new(&Grammar::gbnf("root ::= [a-c]{1000,2000}").unwrap()), Rng::new(1));
    for _ in 0..1800 {
        reply.allowed();
        assert!(reply.accept(&[b'a' + (rng.next_u64() % 3) as u8]));
    }
    // Up to the end of what must come, as many as a token reaches.
    let masks = reply.constraint.masks.len();
    assert!(masks < 100, "{masks}");
}

#[test]
fn a_reply_may_count_farther_than_states_are_kept() {
    let (tokenizer, tokens) = tokenizer();
    let long = tokens.iter().position(|text| text.len() == 40).unwrap() as u32;
    let grammar = Grammar::gbnf("root ::= [a-cé]{40000} \"12\"").unwrap();
    let mut constraint = Constraint::new(&grammar, &tokenizer, &[]).unwrap();
    let allowed = |constraint: &mut Constraint| {
        let mut logits = vec![0.0; tokens.len()];
        constraint.apply(&mut logits).unwrap();
        logits.iter().filter(|logit| logit.is_finite()).count()
    };
    let first = allowed(&mut constraint);
    for _ in 0..1000 {
        assert_eq!(allowed(&mut constraint), first);
        constraint.accept(long).unwrap();
    }
    assert_eq!(allowed(&mut constraint), 2, "\"1\" and \"12\"");
    constraint.restart();
    assert_eq!(allowed(&mut constraint), first);
}

#[test]
fn gbnf_says_what_it_says_in_llama_cpp() {
    let arithmetic = "# sums\nroot  ::= (expr \"=\" ws num \"\\n\")+\nexpr  ::= term ([-+*/] term)*\n\
        term  ::= ident | num | \"(\" ws expr \")\" ws\nident ::= [a-z] [a-z0-9_]* ws\nnum   ::= [0-9]+ ws\nws    ::= [ \\t\\n]*\n";
    // Whitespace that may be empty, repeated by "+" behind a line's end, is no left recursion.
    let sums = Grammar::gbnf(arithmetic).unwrap();
    assert!(matches(&sums, "a+(b*2)=3\n") && matches(&sums, "1=1\nx_1 = 2\n"));
    assert!(!matches(&sums, "a+=3\n") && !matches(&sums, "a=3"));
    let cases = [
        ("root ::= \"a\"{2,3} [^\\x00-\\x1f\"]", &["aab", "aaaa", "aaé"][..], &["ab", "aa\"", "aa\n", "aaaab"][..]),
        ("root ::= item\n  | item \",\" root\nitem ::= [0-9]{2}", &["12", "12,34"], &["1", "12,", "12,3"]),
        ("root ::= \"\\u00e9\" . \"x\"?", &["éa", "é😀x"], &["e", "é"]),
        ("root ::= (\"a\" | \"b\"){2,} \"!\"", &["ab!", "bbab!"], &["a!", "ab"]),
        ("root ::= [\\]\\-a-c-]+", &["]-abc"], &["d"]),
    ];
    for (grammar, good, bad) in cases {
        let compiled = Grammar::gbnf(grammar).unwrap();
        good.iter().for_each(|text| assert!(matches(&compiled, text), "{grammar}: {text}"));
        bad.iter().for_each(|text| assert!(!matches(&compiled, text), "{grammar}: {text}"));
    }
}

#[test]
fn mistakes_in_a_grammar_are_placed() {
    let cases = [
        ("x ::= \"a\"", "rule root is used and not said"),
        ("root ::= y", "rule y is used and not said"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2: rule root is said twice"),
        ("root ::= \"a", "line 1: a quotation mark is not closed"),
        ("root ::= [z-a]", "runs backwards"),
        ("root ::= (\"a\"", "a parenthesis is not closed"),
        ("root ::= \"\\q\"", "means nothing"),
        ("root ::= \"a\"{3,2}", "a higher least than most"),
        ("root ::= \"a\"{1,99999999}", "too large"),
        ("root ::= root \"a\" | \"b\"", "rule root: begins with itself"),
        ("root ::= x\nx ::= \"y\"? x", "rule x: begins with itself"),
        ("root ::= (\"a\"?)*", "repeats what may be empty"),
        ("root = 3", "::= was expected"),
    ];
    for (grammar, expected) in cases {
        let error = Grammar::gbnf(grammar).unwrap_err().to_string();
        assert!(error.starts_with("grammar: ") && error.contains(expected), "{grammar}: {error}");
    }
    let deep = format!("root ::= {}", "(".repeat(5000));
    assert!(Grammar::gbnf(&deep).unwrap_err().to_string().contains("too deeply"));
}

const PERSON: &str = r##"{
    "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Person", "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5, "description": "given"},
        "age": {"type": ["integer", "null"]},
        "kind": {"enum": ["a\"b", 3, null]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        "friend": {"anyOf": [{"$ref": "#"}, {"const": {"none": true}}]},
        "any": {}
    },
    "required": ["name", "tags"], "additionalProperties": false
}"##;

#[test]
fn a_schema_accepts_its_documents() {
    let person = Grammar::json_schema(PERSON).unwrap();
    let good = [
        r#"{"name":"Al","tags":[true]}"#,
        r#" {"name": "Zoë\n", "age": -12, "tags": [ true, false ]}"#,
        "{\n  \"name\": \"x\",\n  \"age\": null,\n  \"kind\": \"a\\\"b\",\n  \"tags\": [\n    true\n  ]\n}",
        r#"{"name":"a","tags":[true],"friend":{"name":"b","tags":[false],"friend":{"none":true}},"any":[1,{"x":[]},"y",2.5e-3]}"#,
    ];
    good.iter().for_each(|text| assert!(matches(&person, text), "{text}"));
    let bad = [
        r#"{"name":"","tags":[true]}"#,
        r#"{"name":"abcdef","tags":[true]}"#,
        r#"{"name":"a"}"#,
        r#"{"name":"a","tags":[]}"#,
        r#"{"name":"a","tags":[true,true,true]}"#,
        r#"{"tags":[true],"name":"a"}"#,
        r#"{"name":"a","tags":[true],"more":1}"#,
        r#"{"name":"a","age":01,"tags":[true]}"#,
        r#"{"name":"a","kind":4,"tags":[true]}"#,
        r#"{"name":"a","tags":[true]"#,
        r#"{"name":"\ud83d","tags":[true]}"#,
        r#"{"name":"a","tags":[true],}"#,
    ];
    bad.iter().for_each(|text| assert!(!matches(&person, text), "{text}"));
    let free = Grammar::json_schema(
        r#"{"type":"object","properties":{"a":{"type":"number"}},"additionalProperties":{"type":"null"}}"#,
    );
    let free = free.unwrap();
    let texts = [r#"{}"#, r#"{"a":1}"#, r#"{"b":null}"#, r#"{"a":1,"b":null,"c":null}"#];
    texts.iter().for_each(|text| assert!(matches(&free, text), "{text}"));
    assert!(!matches(&free, r#"{"b":1}"#) && !matches(&free, r#"{,"b":null}"#));
    assert!(matches(&Grammar::json_object().unwrap(), r#"{"x": [1, {"y": null}], "z": "é"}"#));
    assert!(!matches(&Grammar::json_object().unwrap(), "[]"));
    let none = Grammar::json_schema(r#"{"type":"object","properties":{}}"#).unwrap();
    assert!(matches(&none, "{ }") && !matches(&none, r#"{"a":1}"#));
}

#[test]
fn whatever_is_chosen_is_json() {
    let grammar = Grammar::json_schema(PERSON).unwrap();
    let mut whole = 0;
    for seed in 0..40 {
        if let Some(text) = random(&grammar, seed, 400) {
            let value = json::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(value.get("name").is_some() && value.get("tags").is_some(), "{text}");
            whole += 1;
        }
    }
    assert!(whole >= 5, "only {whole} of 40 came to an end");
}

#[test]
fn what_a_schema_asks_in_vain_is_named() {
    let cases = [
        (r#"{"type":"string","pattern":"a+"}"#, "#: \"pattern\" is not supported for type string"),
        (r#"{"type":"object","properties":{"a":{"type":"integer","minimum":0}}}"#, "/properties/a: \"minimum\""),
        (r#"{"allOf":[{},{}]}"#, "\"allOf\" of 2 schemas"),
        (r##"{"$ref":"#/$defs/x"}"##, "names #/$defs/x, which is not in this schema"),
        (r#"{"$ref":"http://x"}"#, "names http://x"),
        (r#"{"type":"text"}"#, "there is no type \"text\""),
        (r#"{"enum":[]}"#, "\"enum\" is not a list"),
        (r#"{"type":"object","required":["a"]}"#, "\"required\" is not a list of the object's properties"),
        (r#"{"type":"string","maxLength":-1}"#, "\"maxLength\" is not a count"),
        (r#"{"if":{}}"#, "#: \"if\" is not supported here"),
        ("3", "neither an object nor true"),
        ("{", "not JSON at byte 1"),
        (r##"{"$ref":"#"}"##, "begins with itself"),
    ];
    for (schema, expected) in cases {
        let error = Grammar::json_schema(schema).unwrap_err().to_string();
        assert!(error.starts_with("JSON schema: ") && error.contains(expected), "{schema}: {error}");
    }
}

#[test]
fn texts_and_schemas_make_one_form() {
    let json = |schema: &str, strict| Form::Json { schema: schema.into(), strict };
    let call = |name: &str, schema, strict| {
        Form::All(vec![Form::text(format!("<{name} ")), json(schema, strict), Form::text(">")])
    };
    // Each schema's references are its own.
    let one = r##"{"type":"array","items":{"$ref":"#/$defs/x"},"$defs":{"x":{"type":"boolean"}}}"##;
    let two = r##"{"$ref":"#/$defs/x","$defs":{"x":{"type":"null"}}}"##;
    let either = Form::Any(vec![call("one", one, true), call("two", two, true)]);
    let form = Form::All(vec![either.clone(), Form::Repeat(Box::new(Form::All(vec![Form::text(", "), either])))]);
    let grammar = Grammar::form(&form).unwrap();
    for good in ["<one [true]>", "<two null>, <one []>, <two null>"] {
        assert!(matches(&grammar, good), "{good}");
    }
    for bad in ["", "<one null>", "<two [true]>", "<one []>, ", "<three []>"] {
        assert!(!matches(&grammar, bad), "{bad}");
    }
}

#[test]
fn what_cannot_be_held_is_passed_over_where_that_will_do() {
    let schema = r#"{
        "type": "object", "required": ["a", "unlisted"], "minProperties": 1, "anyOf": [{"required": ["b"]}],
        "properties": {
            "a": {"type": "string", "pattern": "^x", "minLength": 2},
            "b": {"allOf": [{"type": "integer"}, {"minimum": 3}]},
            "c": {"type": "integer", "minimum": 0, "nullable": true}
        }
    }"#;
    let form = |strict| Form::Json { schema: schema.into(), strict };
    let grammar = Grammar::form(&form(false)).unwrap();
    for good in [r#"{"a":"yz"}"#, r#"{"a": "yz", "b": [], "c": -1}"#] {
        assert!(matches(&grammar, good), "{good}");
    }
    for bad in ["{}", r#"{"a":"y"}"#, r#"{"a":"yz","c":"0"}"#, "3"] {
        assert!(!matches(&grammar, bad), "{bad}");
    }
    let error = Grammar::form(&form(true)).unwrap_err().to_string();
    assert!(error.contains("is not supported here"), "{error}");
}

#[test]
fn special_tokens_are_text_where_they_are_shown() {
    let (tokenizer, tokens) = tokenizer();
    let stop = tokens.len() as u32;
    let grammar = Grammar::gbnf("root ::= \"ab</s>\" [0-9]").unwrap();
    let mut constraint = Constraint::new(&grammar, &tokenizer, &[]).unwrap().showing(&tokenizer, &[stop]);
    assert!(constraint.accept(stop).is_err());
    assert!(constraint.accept_text(b"ab").unwrap() && !constraint.accept_text(b"c").unwrap());
    let mut logits = vec![0.0; tokens.len() + 1];
    constraint.apply(&mut logits).unwrap();
    assert_eq!(
        (logits[stop as usize], logits[usize::from(b'<')], logits[usize::from(b'a')]),
        (0.0, 0.0, f32::NEG_INFINITY)
    );
    constraint.accept(stop).unwrap();
    constraint.accept(u32::from(b'7')).unwrap();
    assert!(constraint.is_over());
}
