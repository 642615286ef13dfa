//! The normalizer, pre-tokenizer, post-processor and decoder of a `tokenizer.json`, read as the runtime's rules.

use serde::Deserialize;
use serde_json::Value;
use tcrt::tokenizer::{Pattern, Prefix, Rules, Symbols};

use super::sentencepiece::ESCAPED_SPACE;
use super::{Result, TokenizerError, patterns, unsupported};

#[derive(Deserialize)]
pub struct Components {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
}

/// What the post-processor puts around a single text.
pub enum Single {
    Nothing,
    Bos(String),
}

impl Components {
    pub fn rules(&self) -> Result<Rules> {
        let steps = steps(self.pre_tokenizer.as_ref(), "pretokenizers");
        let (symbols, pattern) = pre_tokenizer(&steps)?;
        let mut rules = Rules::new(symbols, pattern);
        for step in &steps {
            read_prefix(step, &mut rules)?;
        }
        self.read_normalizer(&mut rules)?;
        self.read_decoder(&mut rules)?;
        Ok(rules)
    }

    fn read_normalizer(&self, rules: &mut Rules) -> Result<()> {
        for (at, step) in steps(self.normalizer.as_ref(), "normalizers").into_iter().enumerate() {
            match kind(step) {
                "NFC" if at == 0 => rules.nfc = true,
                "Prepend" if step["prepend"] == ESCAPED_SPACE && rules.symbols == Symbols::Chars => {
                    rules.prefix = Prefix::Every;
                }
                "Replace" if is_escape(step) && rules.symbols == Symbols::Chars => rules.escaped_spaces = true,
                _ => return unsupported_step("normalizer", step),
            }
        }
        Ok(())
    }

    fn read_decoder(&self, rules: &mut Rules) -> Result<()> {
        for step in steps(self.decoder.as_ref(), "decoders") {
            match kind(step) {
                "ByteLevel" | "ByteFallback" | "Fuse" => {}
                "Replace" if step["pattern"]["String"] == ESCAPED_SPACE && step["content"] == " " => {}
                "Strip" if step["content"] == " " && step["start"] == 1 && step["stop"] == 0 => {
                    rules.strip_first_space = true;
                }
                "Metaspace" => rules.strip_first_space = metaspace_prefix(step)? != Prefix::Never,
                _ => return unsupported_step("decoder", step),
            }
        }
        Ok(())
    }

    pub fn single(&self) -> Result<Single> {
        for step in steps(self.post_processor.as_ref(), "processors") {
            match kind(step) {
                // It moves offsets, no tokens.
                "ByteLevel" => {}
                "TemplateProcessing" => return single(step),
                _ => return unsupported_step("post_processor", step),
            }
        }
        Ok(Single::Nothing)
    }
}

/// The steps of a component: those of a sequence, or itself.
fn steps<'t>(component: Option<&'t Value>, list: &str) -> Vec<&'t Value> {
    let Some(component) = component else { return Vec::new() };
    match component[list].as_array().filter(|_| kind(component) == "Sequence") {
        Some(inner) => inner.iter().flat_map(|step| steps(Some(step), list)).collect(),
        None => vec![component],
    }
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("without a type")
}

fn unsupported_step<T>(component: &str, step: &Value) -> Result<T> {
    let mut text = step.to_string();
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
    }
    unsupported(format!("the {component} {text}"))
}

/// Replaces every space by `▁`.
fn is_escape(step: &Value) -> bool {
    let space = step["pattern"]["String"] == " " || step["pattern"]["Regex"] == " ";
    space && step["content"] == ESCAPED_SPACE
}

fn pre_tokenizer(steps: &[&Value]) -> Result<(Symbols, Pattern)> {
    let kinds: Vec<&str> = steps.iter().map(|step| kind(step)).collect();
    let cuts = |step: &Value| step["use_regex"].as_bool().unwrap_or(true);
    match (kinds.as_slice(), steps) {
        ([], _) | (["Metaspace"], _) => Ok((Symbols::Chars, Pattern::Whole)),
        (["ByteLevel"], [step]) => Ok((Symbols::Bytes, if cuts(step) { Pattern::Gpt2 } else { Pattern::Whole })),
        (["Digits", "ByteLevel"], [digits, bytes]) if digits["individual_digits"] == true && cuts(bytes) => {
            Ok((Symbols::Bytes, Pattern::DigitsGpt2))
        }
        (["Split", "ByteLevel"], [split, bytes]) if !cuts(bytes) => Ok((Symbols::Bytes, split_pattern(split)?)),
        _ => {
            let names: Vec<String> = steps.iter().map(|step| step.to_string()).collect();
            unsupported(format!("the pre_tokenizer {}", names.join(", ")))
        }
    }
}

/// The patterns leave nothing unmatched, so keeping the matches apart and removing all else are the same.
fn split_pattern(step: &Value) -> Result<Pattern> {
    let isolates = step["behavior"] == "Isolated" || (step["behavior"] == "Removed" && step["invert"] == true);
    let pattern = step["pattern"]["Regex"].as_str().filter(|_| isolates).and_then(patterns::by_regex);
    pattern.map_or_else(|| unsupported_step("pre_tokenizer", step), Ok)
}

fn read_prefix(step: &Value, rules: &mut Rules) -> Result<()> {
    match kind(step) {
        "Metaspace" => {
            if step["split"].as_bool().unwrap_or(true) || step["replacement"] != ESCAPED_SPACE {
                return unsupported_step("pre_tokenizer", step);
            }
            rules.prefix = metaspace_prefix(step)?;
            (rules.prefix_unless_space, rules.escaped_spaces) = (true, true);
        }
        "ByteLevel" if step["add_prefix_space"].as_bool().unwrap_or(true) => {
            // It goes before every piece that an earlier step made.
            if !matches!(rules.pattern, Pattern::Gpt2 | Pattern::Whole) {
                return unsupported_step("pre_tokenizer", step);
            }
            (rules.prefix, rules.prefix_unless_space) = (Prefix::Every, true);
        }
        _ => {}
    }
    Ok(())
}

fn metaspace_prefix(step: &Value) -> Result<Prefix> {
    match (step["prepend_scheme"].as_str(), step["add_prefix_space"].as_bool()) {
        (Some("never"), _) | (None, Some(false)) => Ok(Prefix::Never),
        (Some("first"), _) => Ok(Prefix::First),
        (Some("always") | None, _) => Ok(Prefix::Every),
        (Some(other), _) => unsupported(format!("the prepend_scheme {other:?}")),
    }
}

/// A template that puts at most one token before the text and none after it.
fn single(step: &Value) -> Result<Single> {
    let malformed = || TokenizerError::Invalid("post_processor: the template has no list \"single\"".to_owned());
    let parts = step["single"].as_array().ok_or_else(malformed)?;
    let token = |part: &Value| part["SpecialToken"]["id"].as_str().map(str::to_owned);
    match parts.as_slice() {
        [text] if text.get("Sequence").is_some() => Ok(Single::Nothing),
        [first, text] if text.get("Sequence").is_some() => token(first).map(Single::Bos).ok_or_else(malformed),
        _ => unsupported_step("post_processor", step),
    }
}
