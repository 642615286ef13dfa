//! GPT-2's way to write any bytes as printable text: printable bytes of Latin-1 are themselves, the others the
//! characters from U+0100 on, in order.

use std::collections::HashMap;

pub struct ByteAlphabet(HashMap<char, u8>);

impl ByteAlphabet {
    pub fn new() -> Self {
        let printable = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let themselves = (0..=255).filter(printable).map(|byte| (char::from(byte), byte));
        let others = (0..=255u8).filter(|byte| !printable(byte));
        let shifted = ('\u{100}'..).zip(others);
        ByteAlphabet(themselves.chain(shifted).collect())
    }

    /// The bytes that `text` stands for; `None` if it holds a character that stands for none.
    pub fn bytes(&self, text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| self.0.get(&c).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::ByteAlphabet;

    #[test]
    fn spaces_and_newlines_are_shifted() {
        let alphabet = ByteAlphabet::new();
        assert_eq!(alphabet.0.len(), 256);
        assert_eq!(alphabet.bytes("ĠaĊ").as_deref(), Some(b" a\n".as_slice()));
        assert_eq!(alphabet.bytes("ÃŃĀ").as_deref(), Some(b"\xc3\xad\0".as_slice()));
        assert_eq!(alphabet.bytes("a b"), None);
    }
}
