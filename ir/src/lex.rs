//! Tokens of the text form. `// …` is a comment to the end of its line.

use crate::error::ParseError;
use crate::weight::is_name_char;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Letters, digits and underscores, beginning with a letter.
    Word(&'a str),
    /// The text of a number: `-1e-5`.
    Number(&'a str),
    /// `@name`, without the `@`.
    Name(&'a str),
    /// `%3`, without the `%`.
    Value(&'a str),
    /// One of `( ) { } [ ] , : =`, or `<=`.
    Punct(&'a str),
    End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexeme<'a> {
    pub token: Token<'a>,
    pub line: u32,
    pub column: u32,
}

pub(crate) fn lex(text: &str) -> Result<Vec<Lexeme<'_>>, ParseError> {
    let mut lexemes = Vec::new();
    let mut line = 1;
    for content in text.lines() {
        lex_line(content, line, &mut lexemes)?;
        line += 1;
    }
    lexemes.push(Lexeme { token: Token::End, line, column: 1 });
    Ok(lexemes)
}

fn lex_line<'a>(content: &'a str, line: u32, lexemes: &mut Vec<Lexeme<'a>>) -> Result<(), ParseError> {
    let code = content.split("//").next().unwrap_or_default();
    let mut rest = code.trim_start();
    while !rest.is_empty() {
        let column = 1 + content[..code.len() - rest.len()].chars().count() as u32;
        let (token, after) = first_token(rest).ok_or_else(|| ParseError {
            line,
            column,
            message: format!("unexpected {:?}", rest.chars().next().unwrap_or_default()),
        })?;
        lexemes.push(Lexeme { token, line, column });
        rest = after.trim_start();
    }
    Ok(())
}

/// The first token of a text that begins with none of white space, and the text after it.
fn first_token(text: &str) -> Option<(Token<'_>, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    let after_first = chars.as_str();
    let split = |text: &'_ str, is_part: fn(char) -> bool| text.find(|c| !is_part(c)).unwrap_or(text.len());
    Some(match first {
        '@' => {
            let (name, rest) = after_first.split_at(split(after_first, is_name_char));
            (Token::Name(name), rest)
        }
        '%' => {
            let (number, rest) = after_first.split_at(split(after_first, |c| c.is_ascii_digit()));
            (Token::Value(number), rest)
        }
        'a'..='z' | 'A'..='Z' => {
            let (word, rest) = text.split_at(split(text, |c| c.is_ascii_alphanumeric() || c == '_'));
            (Token::Word(word), rest)
        }
        '0'..='9' | '-' => {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
            let (number, rest) = text.split_at(split(text, is_part));
            (Token::Number(number), rest)
        }
        '<' if after_first.starts_with('=') => (Token::Punct(&text[..2]), &text[2..]),
        '(' | ')' | '{' | '}' | '[' | ']' | ',' | ':' | '=' => (Token::Punct(&text[..1]), after_first),
        _ => return None,
    })
}
