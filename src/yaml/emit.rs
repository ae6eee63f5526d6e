//! The writer: block style, indent 2, folded at 80 columns, non-ASCII escaped.
//!
//! The state it keeps (column, whether the last thing written was white space or indentation) and
//! the rules for choosing a style are those of `PyYAML`'s emitter, because the bytes have to be.

use std::fmt::Write as _;

use base64::Engine as _;

use super::Value;
use super::plain::{self, Plain};

/// Lines longer than this are folded at the next space.
const BEST_WIDTH: usize = 80;

/// A key is written on one line with its value below this length, its type's tag counted.
const SIMPLE_KEY_LENGTH: usize = 128;

/// `!!binary` text is broken into lines of this length.
const BASE64_LINE: usize = 76;

/// Writes one document.
pub(super) fn document(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0, whitespace: true, indention: true };
    writer.node(value, None, Place::Root);
    if writer.column > 0 || writer.out.is_empty() {
        writer.line_break();
    }
    writer.out
}

/// Writes a number the way Python's `repr` and then `PyYAML` do.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').expect("`{:e}` always writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let mantissa = if mantissa.contains('.') { mantissa.to_owned() } else { format!("{mantissa}.0") };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Item,
    Key,
    /// A key too long or too odd for one line, after `? `.
    LongKey,
    Entry,
}

impl Place {
    fn in_map(self) -> bool {
        matches!(self, Self::Key | Self::LongKey | Self::Entry)
    }
}

struct Writer {
    out: String,
    column: usize,
    whitespace: bool,
    indention: bool,
}

impl Writer {
    fn node(&mut self, value: &Value, indent: Option<usize>, place: Place) {
        match value {
            Value::List(items) if items.is_empty() => self.empty('[', ']'),
            Value::Map(entries) if entries.is_empty() => self.empty('{', '}'),
            Value::List(items) => self.list(items, indent, place),
            Value::Map(entries) => self.map(entries, indent),
            Value::Bytes(bytes) => self.binary(bytes, scalar_indent(indent), place),
            Value::Text(text) => self.text(text, scalar_indent(indent), place),
            Value::Null => self.plain("null", scalar_indent(indent), place),
            Value::Bool(value) => self.plain(if *value { "true" } else { "false" }, 0, place),
            Value::Int(value) => self.plain(&value.to_string(), 0, place),
            Value::Float(value) => self.plain(&float(*value), 0, place),
            Value::Timestamp(text) => self.plain(text, scalar_indent(indent), place),
        }
    }

    fn empty(&mut self, open: char, close: char) {
        self.indicator(open, true, true, false);
        self.indicator(close, false, false, false);
    }

    fn list(&mut self, items: &[Value], indent: Option<usize>, place: Place) {
        // A list that is the value of a key stands at the column of the key.
        let flush = place.in_map() && !self.indention;
        let inner = match indent {
            None => 0,
            Some(indent) if flush => indent,
            Some(indent) => indent + 2,
        };
        for item in items {
            self.indent(inner);
            self.indicator('-', true, false, true);
            self.node(item, Some(inner), Place::Item);
        }
    }

    fn map(&mut self, entries: &[(Value, Value)], indent: Option<usize>) {
        let inner = indent.map_or(0, |indent| indent + 2);
        for (key, value) in entries {
            self.indent(inner);
            if is_simple_key(key) {
                self.node(key, Some(inner), Place::Key);
                self.indicator(':', false, false, false);
            } else {
                self.indicator('?', true, false, true);
                self.node(key, Some(inner), Place::LongKey);
                self.indent(inner);
                self.indicator(':', true, false, true);
            }
            self.node(value, Some(inner), Place::Entry);
        }
    }

    fn text(&mut self, text: &str, indent: usize, place: Place) {
        let shape = Shape::of(text);
        let as_key = place == Place::Key;
        let plain = plain::resolve(text) == Plain::Text && shape.allows_plain;
        if plain {
            self.plain(text, indent, place);
        } else if shape.allows_single_quotes && !(as_key && shape.is_multiline) {
            self.single_quoted(text, indent, as_key);
        } else {
            self.double_quoted(text, indent, as_key);
        }
    }

    fn plain(&mut self, text: &str, indent: usize, place: Place) {
        if !self.whitespace {
            self.push(" ");
        }
        self.whitespace = false;
        self.indention = false;
        let folds = place != Place::Key;
        for run in runs(text) {
            if run == " " && folds && self.column > BEST_WIDTH {
                self.indent(indent);
                self.whitespace = false;
                self.indention = false;
            } else {
                self.push(run);
            }
        }
    }

    fn single_quoted(&mut self, text: &str, indent: usize, as_key: bool) {
        self.indicator('\'', true, false, false);
        let end = text.len();
        let mut at = 0;
        for run in runs(text) {
            let inside = at != 0 && at + run.len() != end;
            at += run.len();
            if run.starts_with('\n') {
                // One break reads as a space, so each break is written once more.
                self.line_break();
                for _ in run.chars() {
                    self.line_break();
                }
                self.indent(indent);
            } else if run == " " && inside && !as_key && self.column > BEST_WIDTH {
                self.indent(indent);
            } else {
                self.push(&run.replace('\'', "''"));
            }
        }
        self.indicator('\'', false, false, false);
    }

    fn double_quoted(&mut self, text: &str, indent: usize, as_key: bool) {
        self.indicator('"', true, false, false);
        let chars: Vec<char> = text.chars().collect();
        let last = chars.len().saturating_sub(1);
        // Characters from here to the current one are not written yet.
        let mut start = 0;
        for (at, &ch) in chars.iter().enumerate() {
            if needs_escape(ch) {
                self.push_chars(&chars[start.min(at)..at]);
                self.push(&escape(ch));
                start = at + 1;
            }
            let breakable = ch == ' ' || start >= at;
            let reached = self.column + at > BEST_WIDTH + start;
            if 0 < at && at < last && breakable && reached && !as_key {
                self.push_chars(&chars[start.min(at)..at]);
                self.push("\\");
                start = start.max(at);
                self.indent(indent);
                self.whitespace = false;
                self.indention = false;
                if chars[start] == ' ' {
                    self.push("\\");
                }
            }
        }
        self.push_chars(&chars[start.min(chars.len())..]);
        self.indicator('"', false, false, false);
    }

    fn binary(&mut self, bytes: &[u8], indent: usize, place: Place) {
        if !self.whitespace {
            self.push(" ");
        }
        self.push("!!binary");
        self.whitespace = false;
        self.indention = false;
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        if encoded.is_empty() || place == Place::Key {
            return self.double_quoted(&encoded, indent, place == Place::Key);
        }
        self.indicator('|', true, false, false);
        for line in encoded.as_bytes().chunks(BASE64_LINE) {
            self.line_break();
            self.indent(indent);
            self.push(&String::from_utf8_lossy(line));
        }
        self.line_break();
    }

    fn indicator(&mut self, mark: char, needs_space: bool, whitespace: bool, indention: bool) {
        if needs_space && !self.whitespace {
            self.push(" ");
        }
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
        self.out.push(mark);
        self.column += 1;
    }

    fn indent(&mut self, indent: usize) {
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break();
        }
        if self.column < indent {
            self.whitespace = true;
            self.out.extend(std::iter::repeat_n(' ', indent - self.column));
            self.column = indent;
        }
    }

    fn line_break(&mut self) {
        self.whitespace = true;
        self.indention = true;
        self.column = 0;
        self.out.push('\n');
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn push_chars(&mut self, chars: &[char]) {
        self.out.extend(chars);
        self.column += chars.len();
    }
}

fn scalar_indent(indent: Option<usize>) -> usize {
    indent.map_or(2, |indent| indent + 2)
}

fn is_simple_key(key: &Value) -> bool {
    let (text, tag) = match key {
        Value::Text(text) => {
            let one_line = !text.is_empty() && !text.contains(is_break);
            if !one_line {
                return false;
            }
            (text.clone(), "!!str")
        }
        Value::Timestamp(text) => (text.clone(), "!!timestamp"),
        Value::Null => ("null".to_owned(), "!!null"),
        Value::Bool(value) => (value.to_string(), "!!bool"),
        Value::Int(value) => (value.to_string(), "!!int"),
        Value::Float(value) => (float(*value), "!!float"),
        Value::List(items) => return items.is_empty(),
        Value::Map(entries) => return entries.is_empty(),
        Value::Bytes(_) => return false,
    };
    text.chars().count() + tag.len() < SIMPLE_KEY_LENGTH
}

/// Which styles a text may have.
struct Shape {
    is_multiline: bool,
    allows_plain: bool,
    allows_single_quotes: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let is_multiline = text.contains(is_break);
        let special = text.chars().any(|ch| !(ch == '\n' || (' '..='~').contains(&ch)));
        let pairs = |first: fn(char) -> bool, second: fn(char) -> bool| {
            text.chars().zip(text.chars().skip(1)).any(|(a, b)| first(a) && second(b))
        };
        let space_before_break = pairs(|a| a == ' ', is_break);
        let space_after_break = pairs(is_break, |b| b == ' ');
        let edge = |ch: Option<char>| ch.is_some_and(|ch| ch == ' ' || is_break(ch));
        let padded = edge(text.chars().next()) || edge(text.chars().last());
        let allows_single_quotes = !special && !space_before_break && !space_after_break;
        Self {
            is_multiline,
            allows_plain: allows_single_quotes && !is_multiline && !padded && !has_block_indicator(text),
            allows_single_quotes,
        }
    }
}

/// Whether a character in the text would end or change a plain scalar.
fn has_block_indicator(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let chars: Vec<char> = text.chars().collect();
    let blank_at = |at: usize| chars.get(at).is_none_or(|&ch| is_blank(ch));
    chars.iter().enumerate().any(|(at, &ch)| match ch {
        ':' => blank_at(at + 1),
        '#' => at == 0 || is_blank(chars[at - 1]),
        '?' | '-' => at == 0 && blank_at(1),
        ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => at == 0,
        _ => false,
    })
}

fn is_blank(ch: char) -> bool {
    matches!(ch, '\0' | ' ' | '\t' | '\r') || is_break(ch)
}

fn is_break(ch: char) -> bool {
    matches!(ch, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn needs_escape(ch: char) -> bool {
    matches!(ch, '"' | '\\') || !(' '..='~').contains(&ch)
}

fn escape(ch: char) -> String {
    let short = match ch {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => return long_escape(u32::from(ch)),
    };
    format!("\\{short}")
}

fn long_escape(code: u32) -> String {
    let mut text = String::new();
    let written = match code {
        0..=0xff => write!(text, "\\x{code:02X}"),
        0x100..=0xffff => write!(text, "\\u{code:04X}"),
        _ => write!(text, "\\U{code:08X}"),
    };
    written.expect("writing to a string cannot fail");
    text
}

/// Splits a text into runs of spaces, of line feeds, and of anything else.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let class = |ch: char| match ch {
        ' ' => 0,
        '\n' => 1,
        _ => 2,
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = class(rest.chars().next()?);
        let end = rest.find(|ch| class(ch) != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}
