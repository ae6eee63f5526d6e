//! Reading: a tree that knows the line and column of everything in it.
//!
//! YAML and TOML give the same tree, so that a bentofile and a `pyproject.toml` are checked by the
//! same code and complained about in the same words.

use std::fmt;

use base64::Engine as _;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Spanned};

use super::Value;
use super::plain::{self, Plain};

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub at: Position,
    /// What it is.
    pub kind: Kind,
}

/// The three kinds of nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Anything that is not a collection.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map: keys with their values, in written order.
    Map(Vec<(Node, Node)>),
}

/// A scalar: its value and its spelling in the file (`3.10` stays `3.10`).
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The value by the rules of the file's format.
    pub value: Value,
    /// The text, without quotes.
    pub text: String,
}

/// The file could not be read as YAML or TOML.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", Line(.at.as_ref()))]
pub struct ReadError {
    /// Where the problem is, when the parser knows.
    pub at: Option<Position>,
    /// What the parser says.
    pub message: String,
    /// The second definition of a key, when that is the problem.
    pub is_duplicate_key: bool,
}

struct Line<'a>(Option<&'a Position>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |at| write!(f, "line {}, column {}: ", at.line, at.column))
    }
}

impl Node {
    /// The value without positions.
    pub fn into_value(self) -> Value {
        match self.kind {
            Kind::Scalar(scalar) => scalar.value,
            Kind::List(items) => Value::List(items.into_iter().map(Self::into_value).collect()),
            Kind::Map(entries) => Value::Map(
                entries.into_iter().map(|(key, value)| (key.into_value(), value.into_value())).collect(),
            ),
        }
    }

    /// What the node is, in the words of an error message.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Scalar(scalar) => match scalar.value {
                Value::Null => "nothing",
                Value::Bool(_) => "a boolean",
                Value::Int(_) | Value::Float(_) => "a number",
                Value::Timestamp(_) => "a date",
                _ => "text",
            },
        }
    }
}

/// Reads one YAML document; a key that is given twice is an error.
pub fn read(source: &str) -> Result<Node, ReadError> {
    let options = serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        ignore_binary_tag_for_string: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let raw: Spanned<Raw> =
        serde_yaml::from_str_with_options(source, options).map_err(|error| refused(&error, source))?;
    Ok(raw_node(source, raw))
}

/// Reads a TOML document.
pub fn read_toml(source: &str) -> Result<Node, ReadError> {
    let lines = Lines::of(source);
    let table = toml::de::DeTable::parse(source).map_err(|error| ReadError {
        at: error.span().map(|span| lines.position(span.start)),
        message: error.message().to_owned(),
        is_duplicate_key: error.message().contains("duplicate key"),
    })?;
    let at = lines.position(table.span().start);
    Ok(Node { at, kind: toml_table(table.into_inner(), &lines) })
}

fn refused(error: &serde_yaml::Error, source: &str) -> ReadError {
    let at = error.location().and_then(position);
    let text = error.without_snippet().to_string();
    let tab = at.and_then(|at| tab_after(source, at));
    // Of a tab after spaces the parser only sees that what follows is no key.
    let is_cause = |tab: &Position| {
        let is_here = at.is_some_and(|at| at.line == tab.line);
        text.contains("tab") || (is_here && text.contains("mapping values are not allowed"))
    };
    if let Some(tab) = tab.filter(is_cause) {
        let message = "a tab in the indentation, which YAML makes of spaces only".to_owned();
        return ReadError { at: Some(tab), message, is_duplicate_key: false };
    }
    let is_duplicate_key = text.contains("duplicate");
    // The parser appends its own spelling of the position; ours goes in front.
    let message =
        text.split(" at line ").next().unwrap_or(&text).lines().next().unwrap_or_default().to_owned();
    ReadError { at, message, is_duplicate_key }
}

/// The first tab that indents a line. The parser names the place where it began to read what the tab is in.
fn tab_after(source: &str, at: Position) -> Option<Position> {
    let mut lines = source.lines().enumerate().skip(at.line.saturating_sub(1));
    lines.find_map(|(index, line)| {
        let indentation = &line[..line.len() - line.trim_start().len()];
        Some(Position { line: index + 1, column: indentation.find('\t')? + 1 })
    })
}

fn position(location: serde_yaml::Location) -> Option<Position> {
    let line = usize::try_from(location.line()).ok().filter(|&line| line > 0)?;
    Some(Position { line, column: usize::try_from(location.column()).ok()? })
}

/// A node as the parser hands it over.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(i128::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn raw_node(source: &str, raw: Spanned<Raw>) -> Node {
    let at = position(raw.referenced).unwrap_or(Position { line: 1, column: 1 });
    let kind = match raw.value {
        Raw::Scalar(Value::Text(text)) if is_binary(source, raw.defined) => Kind::Scalar(binary(text)),
        Raw::Scalar(value) => Kind::Scalar(scalar(spelling(source, raw.defined), value)),
        Raw::List(items) => Kind::List(items.into_iter().map(|item| raw_node(source, item)).collect()),
        Raw::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, value)| (raw_node(source, key), raw_node(source, value)))
                .collect(),
        ),
    };
    Node { at, kind }
}

/// The bytes of a scalar in the file.
fn spelling(source: &str, at: serde_yaml::Location) -> Option<&str> {
    let start = usize::try_from(at.span().byte_offset()?).ok()?;
    let length = usize::try_from(at.span().byte_len()?).ok()?;
    source.get(start..start.checked_add(length)?)
}

/// Whether a scalar is tagged as bytes.
fn is_binary(source: &str, at: serde_yaml::Location) -> bool {
    let start = at.span().byte_offset().and_then(|start| usize::try_from(start).ok());
    let before = start.and_then(|start| source.get(..start)).unwrap_or_default();
    before.trim_end().trim_end_matches(['|', '-']).trim_end().ends_with("!!binary")
}

/// Bytes; text that is no base64 stays text.
fn binary(text: String) -> Scalar {
    let encoded: String = text.split_whitespace().collect();
    let value = base64::engine::general_purpose::STANDARD.decode(encoded);
    Scalar { value: value.map_or_else(|_| Value::Text(text.clone()), Value::Bytes), text }
}

/// Applies the rules of `PyYAML` to what the parser found.
fn scalar(spelling: Option<&str>, value: Value) -> Scalar {
    let spelled = spelling.map_or("", str::trim);
    let is_plain = !spelled.starts_with(['\'', '"', '|', '>', '!', '&', '*']);
    let text = match &value {
        Value::Text(text) => text.clone(),
        _ if is_plain => spelled.to_owned(),
        other => other.key_text(),
    };
    let value = match value {
        value if !is_plain || spelling.is_none() => value,
        Value::Text(text) if text != spelled => Value::Text(text),
        _ => match plain::resolve(&text) {
            Plain::Null => Value::Null,
            Plain::Bool(value) => Value::Bool(value),
            Plain::Int(value) => Value::Int(value),
            Plain::Float(value) => Value::Float(value),
            Plain::Timestamp => Value::Timestamp(text.clone()),
            Plain::LongInt | Plain::Special | Plain::Text => Value::Text(text.clone()),
        },
    };
    Scalar { value, text }
}

/// Where the lines of a text start.
struct Lines<'a> {
    source: &'a str,
}

impl<'a> Lines<'a> {
    fn of(source: &'a str) -> Self {
        Self { source }
    }

    fn position(&self, offset: usize) -> Position {
        let before = self.source.get(..offset).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

fn toml_table(table: toml::de::DeTable<'_>, lines: &Lines<'_>) -> Kind {
    let entries = table.into_iter().map(|(key, value)| {
        let at = lines.position(key.span().start);
        let text = key.into_inner().into_owned();
        let name = Scalar { value: Value::Text(text.clone()), text };
        (Node { at, kind: Kind::Scalar(name) }, toml_node(value, lines))
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|(key, _)| key.at);
    Kind::Map(entries)
}

fn toml_node(value: toml::Spanned<toml::de::DeValue<'_>>, lines: &Lines<'_>) -> Node {
    use toml::de::DeValue;
    let at = lines.position(value.span().start);
    let spelled = lines.source.get(value.span()).unwrap_or_default().to_owned();
    let of = |value: Value, text: String| Kind::Scalar(Scalar { value, text });
    let kind = match value.into_inner() {
        DeValue::String(text) => of(Value::Text(text.to_string()), text.into_owned()),
        DeValue::Boolean(value) => of(Value::Bool(value), value.to_string()),
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::Int);
            of(value, spelled)
        }
        DeValue::Float(number) => of(Value::Float(number.as_str().parse().unwrap_or(f64::NAN)), spelled),
        DeValue::Datetime(_) => of(Value::Timestamp(spelled.clone()), spelled),
        DeValue::Array(items) => Kind::List(items.into_iter().map(|item| toml_node(item, lines)).collect()),
        DeValue::Table(table) => toml_table(table, lines),
    };
    Node { at, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(source: &str) -> Value {
        read(source).expect("readable").into_value()
    }

    fn scalar_of<'a>(node: &'a Node, key: &str) -> (&'a Node, &'a Scalar) {
        let Kind::Map(entries) = &node.kind else { panic!("not a map") };
        for (name, value) in entries {
            if let (Kind::Scalar(name), Kind::Scalar(scalar)) = (&name.kind, &value.kind)
                && name.text == key
            {
                return (value, scalar);
            }
        }
        panic!("no {key}")
    }

    #[test]
    fn a_tab_is_named_where_it_stands() {
        for (source, line, column) in [
            ("a:\n\tb: 1\n", 2, 1),
            ("a:\n  b: 1\n  c:\n  - x\n\t- y\n", 5, 1),
            ("a: b\n \tc: 1\n", 2, 2),
            ("a: b\nd: e\n\tc: 1\n", 3, 1),
        ] {
            let error = read(source).unwrap_err();
            assert_eq!(error.at, Some(Position { line, column }), "{source}");
            assert_eq!(
                error.to_string(),
                format!(
                    "line {line}, column {column}: a tab in the indentation, which YAML makes of spaces only"
                )
            );
        }
        assert!(read("a:\tb\n").is_ok());
    }

    #[test]
    fn a_number_keeps_its_spelling() {
        let node = read("docker: x\npython_version: 3.10 # note\n").expect("readable");
        let (node, scalar) = scalar_of(&node, "python_version");
        assert_eq!(scalar.text, "3.10");
        assert_eq!(scalar.value, Value::Float(3.1));
        assert_eq!(node.at, Position { line: 2, column: 17 });
    }

    #[test]
    fn scalars_follow_the_rules_of_pyyaml() {
        let source = "a: y\nb: yes\nc: 'yes'\nd: 1e3\ne: 017\nf: ~\ng:\nh: \"3\"\ni: 2026-01-01\nj: 12:30\n";
        let expected = Value::map([
            ("a", "y".into()),
            ("b", true.into()),
            ("c", "yes".into()),
            ("d", "1e3".into()),
            ("e", Value::Int(15)),
            ("f", Value::Null),
            ("g", Value::Null),
            ("h", "3".into()),
            ("i", Value::Timestamp("2026-01-01".into())),
            ("j", Value::Int(750)),
        ]);
        assert_eq!(value(source), expected);
    }

    #[test]
    fn merge_keys_and_aliases_are_applied() {
        let source = "base: &b {packages: [z]}\npython:\n  <<: *b\n  lock_packages: yes\n";
        let python = value(source).get("python").cloned();
        let expected = Value::map([("packages", Value::list(["z".into()])), ("lock_packages", true.into())]);
        assert_eq!(python.map(Value::sorted), Some(expected.sorted()));
    }

    #[test]
    fn blocks_and_folded_text_stay_text() {
        let source = "a: |\n  yes\nb: >-\n  1\n  2\nc: one\n  two\n";
        let expected = Value::map([("a", "yes\n".into()), ("b", "1 2".into()), ("c", "one two".into())]);
        assert_eq!(value(source), expected);
    }

    #[test]
    fn a_key_given_twice_is_refused_with_its_position() {
        let error = read("service: a\nlabels: {}\nservice: b\n").expect_err("refused");
        assert!(error.is_duplicate_key, "{error:?}");
        assert_eq!(error.at, Some(Position { line: 3, column: 1 }));
    }

    #[test]
    fn toml_gives_the_same_tree() {
        let node = read_toml(
            "[tool.bentoml.build]\nservice = \"a:B\"\n[tool.bentoml.build.docker]\npython_version = 3.10\n",
        )
        .expect("readable");
        let value = node.into_value();
        let build = value.get("tool").and_then(|tool| tool.get("bentoml")).and_then(|tool| tool.get("build"));
        assert_eq!(build.and_then(|build| build.get("service")), Some(&"a:B".into()));
    }
}
