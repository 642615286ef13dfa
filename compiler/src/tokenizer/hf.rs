//! Hugging Face's `tokenizer.json`, with what `tokenizer_config.json`, `special_tokens_map.json` and `config.json` beside
//! it add.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tcrt::tokenizer::{Definition, Kind, MergeOrder, Symbols};

use super::byte_level::ByteAlphabet;
use super::hf_components::{Components, Single};
use super::sentencepiece::{ESCAPED_SPACE, byte};
use super::{Result, TokenizerError, Tokens, invalid, read, unsupported};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    model: Model,
    #[serde(flatten)]
    components: Components,
}

#[derive(Clone, Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    vocab: HashMap<String, u32>,
    #[serde(default)]
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair([String; 2]),
    Text(String),
}

/// No real vocabulary has an id near this; a file that does would have us make as many tokens.
const MOST_TOKENS: u32 = 1 << 22;

pub fn define(bytes: &[u8], companions: &Companions) -> Result<Definition> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| TokenizerError::Invalid(error.to_string()))?;
    check_model(&file.model)?;
    let mut rules = file.components.rules()?;
    rules.whole_piece_first = file.model.ignore_merges;
    rules.fuse_unknown = file.model.fuse_unk;
    let vocab = &file.model.vocab;
    let id_of = |token: &str| {
        let added = file.added_tokens.iter().find(|added| added.content == token).map(|added| added.id);
        added.or_else(|| vocab.get(token).copied())
    };
    rules.unk = file.model.unk_token.as_deref().and_then(id_of);
    if let Single::Bos(token) = file.components.single()? {
        let Some(bos) = id_of(&token) else {
            return invalid(format!("post_processor: {token:?} is not in the vocabulary"));
        };
        (rules.bos, rules.adds_bos) = (Some(bos), true);
    }
    let mut tokens = model_tokens(&file.model, rules.symbols, rules.escaped_spaces)?;
    if let Some((_, kind)) = rules.unk.and_then(|id| tokens.get_mut(id as usize)) {
        *kind = Kind::Unknown;
    }
    for added in &file.added_tokens {
        add(&mut tokens, added, rules.nfc)?;
    }
    let merges = MergeOrder::Listed(merges(&file.model)?);
    companions.apply(Definition { rules, charsmap: None, tokens, merges })
}

fn check_model(model: &Model) -> Result<()> {
    if let Some(kind) = model.kind.as_deref().filter(|kind| *kind != "BPE") {
        return unsupported(format!("the tokenizer model {kind:?}"));
    }
    if model.dropout.is_some_and(|dropout| dropout != 0.0) {
        return unsupported("BPE dropout");
    }
    for (name, value) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if value.as_ref().is_some_and(|value| !value.is_empty()) {
            return unsupported(name);
        }
    }
    Ok(())
}

fn model_tokens(model: &Model, symbols: Symbols, escaped: bool) -> Result<Tokens> {
    let alphabet = ByteAlphabet::new();
    let mut tokens = Vec::new();
    for (text, id) in &model.vocab {
        let token = match symbols {
            Symbols::Bytes => alphabet.bytes(text).map(|bytes| (bytes, Kind::Normal)),
            Symbols::Chars => match byte(text).filter(|_| model.byte_fallback) {
                Some(byte) => Some((vec![byte], Kind::Byte)),
                None if escaped => Some((text.replace(ESCAPED_SPACE, " ").into_bytes(), Kind::Normal)),
                None => Some((text.clone().into_bytes(), Kind::Normal)),
            },
        };
        // Not written in the alphabet: no text can lead to it.
        *slot(&mut tokens, *id)? = token.unwrap_or_else(|| (text.clone().into_bytes(), Kind::Unused));
    }
    Ok(tokens)
}

/// The token `id`, after making room for it.
fn slot(tokens: &mut Tokens, id: u32) -> Result<&mut (Vec<u8>, Kind)> {
    if id >= MOST_TOKENS {
        return invalid(format!("the token id {id} is beyond {MOST_TOKENS}"));
    }
    let at = id as usize;
    if at >= tokens.len() {
        tokens.resize(at + 1, (Vec::new(), Kind::Unused));
    }
    Ok(&mut tokens[at])
}

fn add(tokens: &mut Tokens, added: &AddedToken, nfc: bool) -> Result<()> {
    for (name, set) in [("single_word", added.single_word), ("lstrip", added.lstrip), ("rstrip", added.rstrip)] {
        if set {
            return unsupported(format!("the added token {:?} with {name}", added.content));
        }
    }
    let kind = match added {
        AddedToken { special: true, .. } => Kind::Control,
        // Recognised after normalising. (Where that puts spaces before the text, the reference does not find such a token
        // inside a text at all; here it is found as written.)
        AddedToken { normalized: true, .. } if nfc => Kind::UserDefined,
        _ => Kind::Added,
    };
    *slot(tokens, added.id)? = (added.content.clone().into_bytes(), kind);
    Ok(())
}

fn merges(model: &Model) -> Result<Vec<[u32; 3]>> {
    let merge = |(at, merge): (usize, &Merge)| {
        let (left, right) = match merge {
            Merge::Pair([left, right]) => (left.as_str(), right.as_str()),
            Merge::Text(text) => text.split_once(' ').unwrap_or((text, "")),
        };
        let id = |text: &str| model.vocab.get(text).copied();
        let found = id(left).zip(id(right)).zip(id(&format!("{left}{right}")));
        let unknown = || TokenizerError::Invalid(format!("merge {at} ({left:?}, {right:?}) is not of known tokens"));
        found.map(|((left, right), joined)| [left, right, joined]).ok_or_else(unknown)
    };
    model.merges.iter().enumerate().map(merge).collect()
}

/// The files of a checkpoint that say more about its tokenizer.
#[derive(Default)]
pub struct Companions {
    /// `tokenizer_config.json` and `special_tokens_map.json`: the first to name a token is right.
    named: Vec<Value>,
    /// `config.json`
    model: Option<Value>,
}

impl Companions {
    pub fn read(dir: &Path) -> Result<Companions> {
        let json = |name: &str| {
            let path = dir.join(name);
            if !path.is_file() {
                return Ok(None);
            }
            let parsed = serde_json::from_slice(&read(&path)?);
            parsed.map(Some).map_err(|error| TokenizerError::Invalid(error.to_string()).in_place(path.display()))
        };
        let named = ["tokenizer_config.json", "special_tokens_map.json"].into_iter().map(json);
        let named = named.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Companions { named, model: json("config.json")? })
    }

    /// Adds what the files say: more added tokens, which ones begin and end a text, whether a prompt begins with one.
    pub fn apply(&self, mut definition: Definition) -> Result<Definition> {
        for (id, token) in self.named.iter().filter_map(|json| json["added_tokens_decoder"].as_object()).flatten() {
            let parsed = id.parse::<u32>().ok().zip(token.as_object().cloned());
            let Some((id, mut token)) = parsed else { continue };
            token.insert("id".into(), Value::from(id));
            let added = serde_json::from_value(Value::Object(token));
            let added: AddedToken = added.map_err(|error| TokenizerError::Invalid(error.to_string()))?;
            if definition.tokens.get(id as usize).is_none_or(|(_, kind)| *kind == Kind::Unused) {
                add(&mut definition.tokens, &added, definition.rules.nfc)?;
            }
        }
        let tokens = &definition.tokens;
        let rules = &mut definition.rules;
        rules.bos = self.token("bos", tokens).or(rules.bos);
        rules.eos = self.token("eos", tokens).or(rules.eos);
        let asked = self.named.iter().find_map(|json| json["add_bos_token"].as_bool());
        rules.adds_bos = asked.unwrap_or(rules.adds_bos);
        Ok(definition)
    }

    fn token(&self, which: &str, tokens: &[(Vec<u8>, Kind)]) -> Option<u32> {
        let name = |json: &Value| {
            let token = &json[format!("{which}_token")];
            token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
        };
        let by_name = self.named.iter().find_map(name).and_then(|name| {
            let named = |(bytes, kind): &(Vec<u8>, Kind)| bytes == name.as_bytes() && *kind != Kind::Unused;
            // A special token before a normal one that reads alike.
            let special = tokens.iter().rposition(|token| named(token) && token.1 != Kind::Normal);
            u32::try_from(special.or_else(|| tokens.iter().position(named))?).ok()
        });
        let by_id = || {
            let id = &self.model.as_ref()?[format!("{which}_token_id")];
            let first = id.as_u64().or_else(|| id.get(0)?.as_u64());
            first.and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < tokens.len())
        };
        by_name.or_else(by_id)
    }
}
