//! JSON as Python's `json` writes it unless told otherwise: what is not ASCII is escaped.
//!
//! Listings in the cache, and the names of models in bentos, are compared byte by byte with what Python programs write.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// Without spaces, as with `separators=(",", ":")`.
pub fn compact(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Compact));
    written.expect("plain data is written to memory");
    bytes
}

/// With one space before what is inside, as with `indent=1`.
pub(super) fn indented(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let formatter = Indented(PrettyFormatter::with_indent(b" "));
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    written.expect("plain data is written to memory");
    bytes
}

struct Compact;

impl Formatter for Compact {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        write_ascii(writer, text)
    }
}

struct Indented(PrettyFormatter<'static>);

impl Formatter for Indented {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        write_ascii(writer, text)
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// The part of a string that needs no other escape.
fn write_ascii<W: io::Write + ?Sized>(writer: &mut W, text: &str) -> io::Result<()> {
    for letter in text.chars() {
        if letter.is_ascii() {
            write!(writer, "{letter}")?;
        } else {
            let mut units = [0; 2];
            letter.encode_utf16(&mut units).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = json!({"a": ["é\n\"\u{1F600}", null, "\u{7f}"], "b": {}});
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(compact(&value)),
            "{\"a\":[\"\\u00e9\\n\\\"\\ud83d\\ude00\",null,\"\u{7f}\"],\"b\":{}}"
        );
        let lines =
            "{\n \"a\": [\n  \"\\u00e9\\n\\\"\\ud83d\\ude00\",\n  null,\n  \"\u{7f}\"\n ],\n \"b\": {}\n}";
        assert_eq!(text(indented(&value)), lines);
    }
}
