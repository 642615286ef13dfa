//! `tcrt tokenize`: text to ids and back.

use std::io::{Read, Write};

use tcrt::tokenizer::{Special, Tokenizer};

use crate::args::Tokenize;
use crate::open;
use crate::output::{Failure, Result, failure};

pub fn tokenize(args: &Tokenize) -> Result<()> {
    let tokenizer = match (&args.tokenizer, &args.file) {
        (Some(path), _) => open::tokenizer_file(path)?,
        (None, Some(path)) => {
            let model = open::model(path)?;
            open::tokenizer_of(&model, None)?
        }
        (None, None) => return failure("give a model file, or a tokenizer with -z"),
    };
    let input = match &args.text {
        Some(text) => text.clone().into_bytes(),
        None => stdin_bytes()?,
    };
    if args.decode { decode(args, &tokenizer, &input) } else { encode(args, &tokenizer, input) }
}

fn stdin_bytes() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|error| Failure::Line(format!("standard input: {error}")))?;
    Ok(bytes)
}

fn encode(args: &Tokenize, tokenizer: &Tokenizer, input: Vec<u8>) -> Result<()> {
    let text = String::from_utf8(input).map_err(|error| {
        Failure::Line(format!("the text is not UTF-8: byte {} is wrong", error.utf8_error().valid_up_to()))
    })?;
    let ids = tokenizer.encode(&text, if args.special { Special::Parse } else { Special::AsText });
    let mut out = std::io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::json!({ "ids": ids }))?);
    }
    let words: Vec<_> = ids.iter().map(u32::to_string).collect();
    Ok(writeln!(out, "{}", words.join(" "))?)
}

fn decode(args: &Tokenize, tokenizer: &Tokenizer, input: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(input);
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']')).filter(|word| !word.is_empty());
    let ids = words.map(|word| id(word, tokenizer)).collect::<Result<Vec<u32>>>()?;
    let bytes = tokenizer.decode(&ids);
    let mut out = std::io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::json!({ "text": String::from_utf8_lossy(&bytes) }))?);
    }
    out.write_all(&bytes)?;
    Ok(out.write_all(b"\n")?)
}

fn id(word: &str, tokenizer: &Tokenizer) -> Result<u32> {
    match word.parse::<u32>() {
        Ok(id) if (id as usize) < tokenizer.vocab_size() => Ok(id),
        Ok(id) => failure(format!("token {id} is outside the vocabulary of {}", tokenizer.vocab_size())),
        Err(_) => failure(format!("{word:?} is not a token id")),
    }
}
