use super::*;

/// A SentencePiece vocabulary with byte fallback, and a byte-level one with listed merges.
fn small() -> [Tokenizer; 2] {
    let mut tokens = vec![
        (b"<unk>".to_vec(), Kind::Unknown),
        (b"<s>".to_vec(), Kind::Control),
        (b"</s>".to_vec(), Kind::Control),
        (b"<tool>".to_vec(), Kind::UserDefined),
    ];
    tokens.extend((0..=255).map(|byte: u8| (vec![byte], Kind::Byte)));
    let first = tokens.len();
    tokens.extend([" ", "a", "b", "ab", " a", " ab", "é"].map(|text| (text.as_bytes().to_vec(), Kind::Normal)));
    let priorities = (0..).zip(&tokens).map(|(id, _)| if id < first as u32 { NEVER } else { 300 - id }).collect();
    let rules = Rules {
        prefix: Prefix::Every,
        escaped_spaces: true,
        strip_first_space: true,
        adds_bos: true,
        bos: Some(1),
        eos: Some(2),
        unk: Some(0),
        ..Rules::new(Symbols::Chars, Pattern::Whole)
    };
    let chars = Definition { rules, charsmap: None, tokens, merges: MergeOrder::ByToken(priorities) };

    let mut tokens: Vec<_> = (0..=255).map(|byte: u8| (vec![byte], Kind::Normal)).collect();
    tokens.extend(["ab", " ab", "abab"].map(|text| (text.as_bytes().to_vec(), Kind::Normal)));
    tokens.extend(["<|end|>", "<|end|>!"].map(|text| (text.as_bytes().to_vec(), Kind::Control)));
    let [a, b, space] = [b'a', b'b', b' '].map(u32::from);
    let merges = MergeOrder::Listed(vec![[a, b, 256], [space, 256, 257], [256, 256, 258]]);
    let bytes = Definition { rules: Rules::new(Symbols::Bytes, Pattern::Llama3), charsmap: None, tokens, merges };
    [chars, bytes].map(|definition| Tokenizer::new(definition).unwrap())
}

fn ids(tokenizer: &Tokenizer, texts: &[&str]) -> Vec<u32> {
    texts.iter().map(|text| tokenizer.token_id(text.as_bytes()).unwrap()).collect()
}

#[test]
fn merges_by_priority_then_from_the_left() {
    let [chars, bytes] = small();
    assert_eq!(chars.encode("ab", Special::AsText), ids(&chars, &[" ab"]));
    assert_eq!(chars.encode("b aab", Special::AsText), ids(&chars, &[" ", "b", " a", "ab"]));
    assert_eq!(bytes.encode("ababab ab", Special::AsText), ids(&bytes, &["abab", "ab", " ab"]));
}

#[test]
fn unknown_characters_fall_back_to_bytes() {
    let [chars, _] = small();
    let first_byte = 4;
    let expected = [ids(&chars, &[" "]), "漢".bytes().map(|byte| first_byte + u32::from(byte)).collect()].concat();
    assert_eq!(chars.encode("漢", Special::AsText), expected);
    assert_eq!(chars.decode(&expected), "漢".as_bytes());
}

#[test]
fn special_tokens_are_text_unless_asked_for() {
    let [chars, bytes] = small();
    assert_eq!(bytes.encode("ab<|end|>!ab<|end|>", Special::Parse), ids(&bytes, &["ab", "<|end|>!", "ab", "<|end|>"]));
    let text = bytes.encode("<|end|>", Special::AsText);
    assert_eq!((text.len(), bytes.decode(&text)), (7, b"<|end|>".to_vec()));
    // What the user defined is recognised in the normalised text, so no second space is put after it.
    assert_eq!(chars.encode("<tool>a", Special::AsText), ids(&chars, &[" ", "<tool>", "a"]));
    assert_eq!(chars.encode("a<s>b", Special::Parse), ids(&chars, &[" a", "<s>", " ", "b"]));
    assert_eq!(chars.decode_with(&ids(&chars, &["<s>", " a", "</s>"]), false), b"<s> a</s>");
    assert_eq!(chars.decode(&ids(&chars, &["<s>", " a", "</s>"])), b"a");
}

#[test]
fn streaming_equals_decoding_the_whole() {
    for tokenizer in small() {
        for text in ["", "a", " a b", "é漢 👩‍👩‍👧ab", "ab ab\n", "<s>x</s>"] {
            let ids = tokenizer.encode(text, Special::Parse);
            let mut decoder = tokenizer.decoder(true);
            let mut stream = Utf8Stream::new();
            let mut streamed: String = ids.iter().map(|id| stream.push(decoder.push(*id))).collect();
            streamed += &stream.finish();
            assert_eq!(streamed.as_bytes(), tokenizer.decode(&ids), "{text:?}");
        }
    }
}

#[test]
fn the_file_gives_the_same_tokenizer() {
    for tokenizer in small() {
        let bytes = tokenizer.to_bytes().unwrap();
        let read = Tokenizer::from_bytes(&bytes).unwrap();
        assert_eq!(read.rules(), tokenizer.rules());
        assert_eq!(read.to_bytes().unwrap(), bytes);
        for text in ["ab<|end|>", "é漢 ab", "<tool><s>"] {
            assert_eq!(read.encode(text, Special::Parse), tokenizer.encode(text, Special::Parse));
        }
    }
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    for tokenizer in small() {
        let bytes = tokenizer.to_bytes().unwrap();
        for len in 0..bytes.len() {
            let error = Tokenizer::from_bytes(&bytes[..len]).unwrap_err().to_string();
            assert!(error.starts_with("tokenizer: ") && !error.contains('\n'), "{error}");
        }
    }
}

/// A flipped bit gives an error or a tokenizer that works: nothing panics, hangs or allocates beyond the file's size.
#[test]
fn flipped_bits_never_panic() {
    for tokenizer in small() {
        let bytes = tokenizer.to_bytes().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Tokenizer::from_bytes(&broken) {
                let ids = read.encode("ab <s>漢é abab", Special::Parse);
                assert!(ids.iter().all(|id| (*id as usize) < read.vocab_size()));
                read.decode(&ids);
            }
        }
    }
}

#[test]
fn llama2c_files_are_read() {
    let mut bytes = 8u32.to_le_bytes().to_vec();
    let mut add = |score: f32, text: &[u8]| {
        bytes.extend(score.to_le_bytes());
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text);
    };
    ["<unk>", "\n<s>\n", "\n</s>\n"].iter().for_each(|text| add(0.0, text.as_bytes()));
    (0..=255).for_each(|byte| add(0.0, format!("<0x{byte:02X}>").as_bytes()));
    for (text, score) in [(" a", -1.0), ("a", -3.0), (" ", -4.0), ("b", -5.0), ("ab", -2.0)] {
        add(score, text.as_bytes());
    }
    let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.bos(), tokenizer.eos()), (264, Some(1), Some(2)));
    assert_eq!(tokenizer.encode("aab\n", Special::AsText), [259, 263, 3 + 10]);
    assert_eq!(tokenizer.decode(&[1, 259, 263, 13, 2]), b"aab\n");
    for len in 0..bytes.len() {
        if let Ok(shorter) = Tokenizer::from_bytes(&bytes[..len]) {
            assert!(shorter.vocab_size() >= 259);
        }
    }
}

#[test]
fn a_megabyte_without_spaces_is_encoded_in_time() {
    for tokenizer in small() {
        let text = "ab".repeat(1 << 19);
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text, Special::AsText)), text.as_bytes());
    }
}
