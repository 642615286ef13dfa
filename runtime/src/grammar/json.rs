//! JSON as values, for schemas. Numbers stay as they are written.

use std::fmt::Write;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Value>),
    /// In the order of the text.
    Object(Vec<(String, Value)>),
}

impl Value {
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// As text, without spaces.
    pub fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(text) => out.push_str(text),
            Value::String(text) => quote(text, out),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(entries) => {
                out.push('{');
                for (i, (name, value)) in entries.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    quote(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Deeper nesting would not fit a thread's stack.
const MAX_DEPTH: usize = 100;

pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0).and_then(|value| {
        parser.space();
        if parser.at == text.len() { Ok(value) } else { Err("something follows the end") }
    });
    value.map_err(|why| format!("not JSON at byte {}: {why}", parser.at))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

type Parsed<T> = Result<T, &'static str>;

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Parsed<Value> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply");
        }
        self.space();
        for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            if self.take(word) {
                return Ok(value);
            }
        }
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'[') => self.list(']', |parser| parser.value(depth + 1)).map(Value::Array),
            Some(b'{') => self.list('}', |parser| parser.entry(depth)).map(Value::Object),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err("a value was expected"),
        }
    }

    fn entry(&mut self, depth: usize) -> Parsed<(String, Value)> {
        self.space();
        let name = self.string()?;
        self.space();
        if !self.take(":") {
            return Err(": was expected");
        }
        Ok((name, self.value(depth + 1)?))
    }

    fn list<T>(&mut self, end: char, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space();
            if items.is_empty() && self.peek() == Some(end as u8) {
                break;
            }
            items.push(item(self)?);
            self.space();
            if !self.take(",") {
                break;
            }
        }
        if self.peek() != Some(end as u8) {
            return Err("a comma or the closing bracket was expected");
        }
        self.at += 1;
        Ok(items)
    }

    fn string(&mut self) -> Parsed<String> {
        if !self.take("\"") {
            return Err("a string was expected");
        }
        let mut out = String::new();
        loop {
            let c = self.text[self.at..].chars().next().ok_or("a string is not closed")?;
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                c if (c as u32) < 0x20 => return Err("a control character in a string"),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let c = self.peek().ok_or("a string is not closed")?;
        self.at += 1;
        Ok(match c {
            b'"' | b'\\' | b'/' => char::from(c),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err("an escape that JSON does not have"),
        })
    }

    /// Four digits, or two surrogates.
    fn unicode(&mut self) -> Parsed<char> {
        let high = self.hex()?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).ok_or("half of a surrogate pair");
        }
        let low = if self.take("\\u") { self.hex()? } else { 0 };
        let code = 0x10000 + ((high - 0xd800) << 10) + low.wrapping_sub(0xdc00);
        char::from_u32(code).filter(|_| (0xdc00..0xe000).contains(&low)).ok_or("half of a surrogate pair")
    }

    fn hex(&mut self) -> Parsed<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        self.at += 4;
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or("\\u needs four hexadecimal digits")
    }

    fn number(&mut self) -> Parsed<Value> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = &self.text[begin..self.at];
        let digits = text.trim_start_matches('-');
        let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && !leading_zero && !text.ends_with('.') => Ok(Value::Number(text.into())),
            _ => Err("not a number"),
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, text: &str) -> bool {
        let taken = self.text[self.at..].starts_with(text);
        self.at += if taken { text.len() } else { 0 };
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [r#"{"a":[1,-2.5e3,"x\ny\u0001\"\\"],"b":{},"c":[],"d":[true,false,null]}"#, "0", "\"é😀\""] {
            let mut out = String::new();
            parse(&format!(" {text} ")).unwrap().write(&mut out);
            assert_eq!(out, text);
        }
        assert_eq!(parse(r#""\ud83d\ude00\u00e9\/""#), Ok(Value::String("😀é/".into())));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for text in
            ["", "{", "[1,]", "{\"a\"}", "01", "1.", "\"\\ud83d\"", "\"\\x\"", "nul", "1 2", "\"\u{1}\"", "\"\\u12\""]
        {
            assert!(parse(text).unwrap_err().starts_with("not JSON at byte "), "{text}");
        }
        assert!(parse(&"[".repeat(10_000)).unwrap_err().contains("too deeply"));
    }
}
