//! A tokenizer for models that no text was ever put to.

use serde_json::{Map, Value, json};

/// A byte-level BPE without merges: text becomes bytes, and every other token prints as a word with its number. The last two tokens
/// begin and end a text.
pub fn tokenizer_json(vocab: usize) -> Value {
    let special = |id: usize, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let mut tokens: Map<String, Value> = Map::new();
    for id in 0..vocab - 2 {
        let token = match u8::try_from(id) {
            Ok(byte) => byte_char(byte).to_string(),
            Err(_) => format!("Ġw{id}"),
        };
        tokens.insert(token, id.into());
    }
    json!({
        "version": "1.0",
        "added_tokens": [special(vocab - 2, "<|begin_of_text|>"), special(vocab - 1, "<|end_of_text|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "vocab": tokens, "merges": []},
    })
}

/// GPT-2's printable stand-ins for bytes: printable Latin-1 for itself, the others in order from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match printable(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|other| !printable(*other)).count();
            char::from_u32(0x100 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    }
}
