//! Base64, as tiktoken's and tekken's files hold the bytes of tokens.

pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if !text.len().is_multiple_of(4) || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for quad in digits.chunks(4) {
        let mut bits = 0u32;
        for at in 0..4 {
            bits = bits << 6 | quad.get(at).map_or(Some(0), |digit| value(*digit))?;
        }
        let [_, bytes3 @ ..] = bits.to_be_bytes();
        bytes.extend(&bytes3[..quad.len() - 1]);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn decodes_what_is_base64_and_nothing_else() {
        for (text, bytes) in [("", ""), ("YQ==", "a"), ("YWI=", "ab"), ("YWJj", "abc"), ("YWJjZA==", "abcd")] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for text in ["Y", "YQ", "YQ=", "Y===", "Y!==", "====", "YQ==YQ=="] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
