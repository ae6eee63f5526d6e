//! YAML as the original tool reads and writes it.
//!
//! Files that both tools share (`model.yaml`, `bento.yaml`, `bentofile.yaml`) are written here in
//! the exact bytes of `PyYAML`'s `safe_dump`, and read with its scalar rules (YAML 1.1 as `PyYAML`
//! understands it: `yes` is a boolean, `y` is text, `1e3` is text).

mod block;
mod emit;
mod node;
mod plain;

use serde_json::Number;

pub use node::{Kind, Node, Position, ReadError, Scalar, read, read_toml};

/// Reads one YAML document whose places nobody will ask for; a key that is given twice is an error.
pub fn read_value(source: &str) -> Result<Value, ReadError> {
    block::read(source).map_or_else(|| read(source).map(Node::into_value), Ok)
}

/// A YAML value whose maps keep the order they were written in.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A floating-point number, `.nan` and `.inf` included.
    Float(f64),
    /// Text.
    Text(String),
    /// A date or time that stands unquoted, as written.
    Timestamp(String),
    /// Bytes (`!!binary`).
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Self>),
    /// A map in written order.
    Map(Vec<(Self, Self)>),
}

impl Value {
    /// Makes text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Makes a map with text keys.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (Self::text(key), value)).collect())
    }

    /// Makes a list.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// Makes `null` of an absent value.
    pub fn or_null(value: Option<impl Into<Self>>) -> Self {
        value.map_or(Self::Null, Into::into)
    }

    /// Finds the value of a text key in a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// The text, if this is text or an unquoted date.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Timestamp(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// The entries, if this is a map.
    pub fn as_map(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }

    /// Converts to JSON: bytes become their Python notation, keys become text, and numbers that
    /// JSON cannot hold become text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => {
                Number::from_i128(*value).map_or_else(|| value.to_string().into(), Json::Number)
            }
            Self::Float(value) => {
                Number::from_f64(*value).map_or_else(|| emit::float(*value).into(), Json::Number)
            }
            Self::Text(text) | Self::Timestamp(text) => Json::String(text.clone()),
            Self::Bytes(bytes) => Json::String(format!("b'{}'", bytes.escape_ascii())),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => {
                entries.iter().map(|(key, value)| (key.key_text(), value.to_json())).collect()
            }
        }
    }

    /// Writes the value as `PyYAML`'s `safe_dump(value, sort_keys=False)` does.
    pub fn to_yaml(&self) -> String {
        emit::document(self)
    }

    /// Sorts every map by key, as `safe_dump(value)` does.
    #[must_use]
    pub fn sorted(self) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(Self::sorted).collect()),
            Self::Map(entries) => {
                let mut entries: Vec<_> =
                    entries.into_iter().map(|(key, value)| (key, value.sorted())).collect();
                entries.sort_by_key(|(key, _)| key.key_text());
                Self::Map(entries)
            }
            other => other,
        }
    }

    fn key_text(&self) -> String {
        match self {
            Self::Text(text) | Self::Timestamp(text) => text.clone(),
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => emit::float(*value),
            other => other.to_yaml().trim_end().to_owned(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => {
                number.as_i128().map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
            }
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Json::Object(entries) => {
                Self::Map(entries.into_iter().map(|(key, value)| (Self::Text(key), value.into())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumped(value: &Value) -> String {
        value.to_yaml()
    }

    #[test]
    fn lists_stand_at_the_column_of_their_key() {
        let value = Value::map([
            ("name", "a".into()),
            ("models", Value::list([Value::map([("tag", "m:v1".into()), ("module", "".into())])])),
            ("empty", Value::List(vec![])),
            ("none", Value::Map(vec![])),
        ]);
        insta::assert_snapshot!(dumped(&value), @r"
        name: a
        models:
        - tag: m:v1
          module: ''
        empty: []
        none: {}
        ");
    }

    #[test]
    fn text_that_reads_as_another_type_is_quoted() {
        let items =
            ["3", "yes", "null", "", "2026-11-21T22:16:21.000000+00:00", "y", "1e3", "a: b", "h\u{e9}llo"];
        let value = Value::list(items.map(Value::from));
        insta::assert_snapshot!(dumped(&value), @r#"
        - '3'
        - 'yes'
        - 'null'
        - ''
        - '2026-11-21T22:16:21.000000+00:00'
        - y
        - 1e3
        - 'a: b'
        - "h\xE9llo"
        "#);
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let items =
            [1e-7, 0.95, 1e17, 1e16, 123_456_789.0, f64::NAN, f64::INFINITY, -0.0, 1.5e300, 0.0001, 0.00001];
        let text = dumped(&Value::list(items.map(Value::Float)));
        let lines: Vec<_> = text.lines().map(|line| &line[2..]).collect();
        let expected = [
            "1.0e-07",
            "0.95",
            "1.0e+17",
            "1.0e+16",
            "123456789.0",
            ".nan",
            ".inf",
            "-0.0",
            "1.5e+300",
            "0.0001",
            "1.0e-05",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn json_keeps_the_order_of_maps() {
        let value = Value::map([("b", Value::Int(1)), ("a", Value::Float(f64::NAN))]);
        assert_eq!(value.to_json().to_string(), r#"{"b":1,"a":".nan"}"#);
    }
}
