//! JSON as Python's `json.dumps` spaces it, which is what models saw in training.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// On one line.
pub fn line(value: &Value) -> String {
    write(value, Spaced)
}

/// Indented by four.
pub fn indented(value: &Value) -> String {
    write(value, PrettyFormatter::with_indent(b"    "))
}

fn write(value: &Value, formatter: impl Formatter) -> String {
    let mut bytes = Vec::new();
    // Writing a value to memory cannot fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_pythons() {
        let value = serde_json::json!({"a": [1, 2.5, "x, y: z"], "b": {"c": null}, "d": []});
        assert_eq!(line(&value), r#"{"a": [1, 2.5, "x, y: z"], "b": {"c": null}, "d": []}"#);
        assert_eq!(indented(&serde_json::json!({"a": 1})), "{\n    \"a\": 1\n}");
    }
}
