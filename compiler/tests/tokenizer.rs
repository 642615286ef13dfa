//! Imported tokenizers against the reference packages (see tokenizer/make_goldens.py), and damaged files of every kind.

#[path = "tokenizer/texts.rs"]
mod texts;

use std::path::{Path, PathBuf};

use tcc_core::checkpoint::{self, GgufVocab, OpenOptions, VocabularySource};
use tcc_core::tokenizer::{import_bytes, import_dir, import_file, import_gguf};
use tcrt::tokenizer::{Special, Tokenizer, Utf8Stream};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer")
}

fn fixture(name: &str) -> PathBuf {
    here().join("fixtures").join(name)
}

fn load(path: &Path) -> Tokenizer {
    Tokenizer::from_bytes(&import_file(path).unwrap().bytes).unwrap()
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The hashes in a golden file, if there is one. `TCC_GOLDENS` names a folder with more of them than are committed.
fn golden(name: &str) -> Option<Vec<u32>> {
    let folder = std::env::var_os("TCC_GOLDENS").map_or_else(|| here().join("fixtures"), PathBuf::from);
    let bytes = std::fs::read(folder.join(name)).ok()?;
    Some(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

/// Compares with every golden of `name`, and checks that streaming gives what decoding the whole gives.
#[track_caller]
fn compare(name: &str, tokenizer: &Tokenizer) {
    let expected = golden(&format!("{name}.text")).unwrap_or_else(|| panic!("{name} has no goldens"));
    let parsed = golden(&format!("{name}.parse"));
    let decoded = golden(&format!("{name}.decode")).unwrap();
    for (at, text) in texts::texts(expected.len()).iter().enumerate() {
        let hash = |ids: &[u32]| fnv(ids.iter().flat_map(|id| id.to_le_bytes()));
        let ids = tokenizer.encode(text, Special::AsText);
        assert_eq!(hash(&ids), expected[at], "{name}: text {at} {text:?} gives {ids:?}");
        if let Some(parsed) = &parsed {
            let ids = tokenizer.encode(text, Special::Parse);
            assert_eq!(hash(&ids), parsed[at], "{name}: parsing text {at} {text:?} gives {ids:?}");
        }
        // A byte that the vocabulary lacks is lost, as with the reference, and may leave broken characters behind.
        let back = String::from_utf8_lossy(&tokenizer.decode(&ids)).into_owned();
        assert_eq!(fnv(back.bytes()), decoded[at], "{name}: text {at} {text:?} comes back as {back:?}");
        assert_eq!(stream(tokenizer, &ids), back, "{name}: text {at} {text:?}");
    }
    println!("{name}: {} texts", expected.len());
}

fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = tokenizer.decoder(true);
    let mut stream = Utf8Stream::new();
    let mut text: String = ids.iter().map(|id| stream.push(decoder.push(*id))).collect();
    text += &stream.finish();
    text
}

const FIXTURES: [&str; 15] = [
    "gpt2.json",
    "smollm.json",
    "llama3.json",
    "qwen2.json",
    "tekken-hf.json",
    "o200k.json",
    "llama2.json",
    "metaspace.json",
    "spm.model",
    "spm-collapse.model",
    "spm-bare.model",
    "spm-charsmap.model",
    "llama2c.bin",
    "llama3.model",
    "tekken.json",
];

#[test]
fn every_kind_of_file_gives_the_tokens_of_its_reference() {
    for name in FIXTURES {
        compare(name, &load(&fixture(name)));
    }
}

/// The vocabularies that people use, where `TCC_TEST_MODELS` names the folder that tests/fetch-models.sh filled.
#[test]
fn real_vocabularies_give_the_tokens_of_their_references() {
    const REAL: [(&str, &str); 5] = [
        ("real-llama3", "llama3-tokenizer.model"),
        ("real-mistral-v1", "tokenizer.model.v1"),
        ("real-mistral-v3", "mistral_instruct_tokenizer_240323.model.v3"),
        ("real-tekken", "tekken_240911.json"),
        ("real-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ];
    let models = std::env::var_os("TCC_TEST_MODELS").map(PathBuf::from);
    let path = |file: &str| models.as_ref().map(|models| models.join(file)).filter(|path| path.is_file());
    let mut skipped = 0;
    for (name, file) in REAL {
        match path(file) {
            Some(path) if name == "real-smollm2" => compare(name, &from_gguf(&path)),
            Some(path) => compare(name, &load(&path)),
            None => skipped += 1,
        }
    }
    println!("real vocabularies: {} compared, {skipped} skipped", REAL.len() - skipped);
}

fn from_gguf(path: &Path) -> Tokenizer {
    let checkpoint = checkpoint::open(path, &OpenOptions::default()).unwrap();
    let VocabularySource::Gguf(vocab) = checkpoint.vocabulary else { panic!("no vocabulary in the GGUF file") };
    Tokenizer::from_bytes(&import_gguf(&vocab).unwrap().bytes).unwrap()
}

/// The vocabulary of a `tokenizer.json` as a GGUF file would hold it.
fn as_gguf(name: &str, pre: &str) -> GgufVocab {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let added = json["added_tokens"].as_array().unwrap();
    let mut tokens = vec![(String::new(), 5); vocab.len() + added.len()];
    for (text, id) in vocab {
        tokens[id.as_u64().unwrap() as usize] = (text.clone(), 1);
    }
    for token in added {
        let kind = if token["special"] == true { 3 } else { 4 };
        tokens[token["id"].as_u64().unwrap() as usize] = (token["content"].as_str().unwrap().to_owned(), kind);
    }
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let side = |merge: &serde_json::Value, at: usize| merge[at].as_str().unwrap().to_owned();
    GgufVocab {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        types: tokens.iter().map(|(_, kind)| *kind).collect(),
        tokens: tokens.into_iter().map(|(text, _)| text).collect(),
        merges: merges.map(|merge| format!("{} {}", side(merge, 0), side(merge, 1))).collect(),
        ..GgufVocab::default()
    }
}

#[test]
fn gguf_vocabularies_give_the_same_tokens() {
    for (name, pre) in
        [("gpt2.json", "gpt-2"), ("smollm.json", "smollm"), ("llama3.json", "llama-bpe"), ("qwen2.json", "qwen2")]
    {
        let imported = import_gguf(&as_gguf(name, pre)).unwrap();
        compare(name, &Tokenizer::from_bytes(&imported.bytes).unwrap());
    }
}

#[test]
fn gguf_sentencepiece_vocabularies_give_the_same_tokens() {
    let json = std::fs::read(fixture("llama2.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut tokens: Vec<_> = json["model"]["vocab"].as_object().unwrap().iter().collect();
    tokens.sort_by_key(|(_, id)| id.as_u64());
    tokens.truncate(700);
    let kind = |(id, (text, _)): (usize, &(&String, _))| match id {
        0 => 2,
        1 | 2 => 3,
        _ if text.starts_with("<0x") => 6,
        _ => 1,
    };
    let vocab = GgufVocab {
        model: "llama".into(),
        types: tokens.iter().enumerate().map(kind).collect(),
        // SentencePiece numbers the pieces in the order of their scores.
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        tokens: tokens.into_iter().map(|(text, _)| text.clone()).collect(),
        bos: Some(1),
        eos: Some(2),
        ..GgufVocab::default()
    };
    let tokenizer = Tokenizer::from_bytes(&import_gguf(&vocab).unwrap().bytes).unwrap();
    compare("spm.model", &tokenizer);
    assert!(tokenizer.adds_bos());
}

#[test]
fn byte_level_decoding_undoes_encoding() {
    for name in
        ["gpt2.json", "smollm.json", "llama3.json", "tekken-hf.json", "o200k.json", "llama3.model", "tekken.json"]
    {
        let tokenizer = load(&fixture(name));
        for text in texts::texts(600) {
            assert_eq!(
                tokenizer.decode(&tokenizer.encode(&text, Special::AsText)),
                text.as_bytes(),
                "{name}: {text:?}"
            );
        }
    }
}

#[test]
fn what_is_imported_is_imported_again_unchanged() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let imported = import_file(&fixture("qwen2.json")).unwrap();
    std::fs::write(file.path(), &imported.bytes).unwrap();
    assert_eq!(import_file(file.path()).unwrap(), imported);
}

#[test]
fn folders_say_more_than_their_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("qwen2.json"), dir.path().join("tokenizer.json")).unwrap();
    let config = r#"{"eos_token": {"content": "<|im_end|>"}, "bos_token": null, "add_bos_token": false,
        "added_tokens_decoder": {"900": {"content": "<extra>", "special": true}}}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    std::fs::write(dir.path().join("config.json"), r#"{"bos_token_id": 3, "eos_token_id": [4, 5]}"#).unwrap();
    let tokenizer = Tokenizer::from_bytes(&import_dir(dir.path()).unwrap().bytes).unwrap();
    assert_eq!(tokenizer.eos(), tokenizer.token_id(b"<|im_end|>"));
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (Some(3), false));
    assert_eq!(tokenizer.encode("<extra>", Special::Parse), [900]);

    let llama2 = load(&fixture("llama2.json"));
    assert_eq!((llama2.bos(), llama2.adds_bos()), (Some(1), true));
    let error = import_dir(&dir.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("no tokenizer here"), "{error}");
}

#[test]
fn what_cannot_be_done_exactly_is_refused_by_name() {
    for (find, replace, named) in [
        (r#""NFC""#, r#""NFKC""#, "NFKC"),
        (r"\\p{N}|", r"\\p{N}{1,2}|", r"{1,2}"),
        (r#""BPE""#, r#""Unigram""#, "Unigram"),
        (r#""lstrip":false"#, r#""lstrip":true"#, "lstrip"),
        (r#""dropout":null"#, r#""dropout":0.1"#, "dropout"),
        (r#""end_of_word_suffix":null"#, r#""end_of_word_suffix":"</w>""#, "end_of_word_suffix"),
    ] {
        let json = std::fs::read_to_string(fixture("qwen2.json")).unwrap();
        assert!(json.contains(find), "{find}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json.replace(find, replace)).unwrap();
        let error = import_file(file.path()).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("not supported") && !error.contains('\n'), "{error}");
    }
    let error = import_gguf(&GgufVocab { pre: Some("viking".into()), ..as_gguf("gpt2.json", "") }).unwrap_err();
    assert_eq!(error.to_string(), r#"tokenizer.ggml: tokenizer.ggml.pre "viking" is not supported"#);
}

/// Truncated and bit-flipped files of every kind: an error of one line, or a tokenizer that works.
#[test]
fn damaged_files_never_panic() {
    for name in FIXTURES {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 150) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            for damaged in [flipped.as_slice(), &bytes[..at]] {
                match import_bytes(damaged) {
                    Ok(imported) => {
                        let tokenizer = Tokenizer::from_bytes(&imported.bytes).unwrap();
                        tokenizer.decode(&tokenizer.encode("a <s>漢é abab 12", Special::Parse));
                    }
                    Err(error) => assert!(!error.to_string().contains('\n'), "{name} at {at}: {error}"),
                }
            }
        }
    }
}
