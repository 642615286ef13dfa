//! What a template itself says, cut into special tokens, dates and text.

use super::Specials;
use super::jinja::DATE_MARKS;
use tcrt::chat::Piece;

/// Cuts as a tokenizer does: the leftmost special token, the longest of those that begin there.
pub fn pieces(literal: &str, specials: &Specials<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = literal;
    let mut text = String::new();
    while let Some(c) = rest.chars().next() {
        let (piece, len) = if let Some(token) = token_at(rest, specials) {
            (Piece::Special(token.to_owned()), token.len())
        } else if let Some(format) = date_at(rest) {
            (Piece::Date(format.to_owned()), format.len() + DATE_MARKS.iter().map(|c| c.len_utf8()).sum::<usize>())
        } else {
            text.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        flush(&mut text, &mut pieces);
        pieces.push(piece);
        rest = &rest[len..];
    }
    flush(&mut text, &mut pieces);
    pieces
}

fn flush(text: &mut String, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        pieces.push(Piece::Text(std::mem::take(text)));
    }
}

fn token_at<'a>(text: &str, specials: &Specials<'a>) -> Option<&'a str> {
    let begins = |token: &&str| !token.is_empty() && text.starts_with(*token);
    specials.tokens.iter().copied().filter(begins).max_by_key(|token| token.len())
}

fn date_at(text: &str) -> Option<&str> {
    text.strip_prefix(DATE_MARKS[0])?.split_once(DATE_MARKS[1]).map(|(format, _)| format)
}
