//! Reads values by their dotted keys, in all the spellings that configurations have.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::ConfigError;
use crate::serve::worker::memory::Memory;

/// Finds values by their dotted keys; null is absent.
pub(super) struct Reader<'a> {
    pub(super) values: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    pub(super) fn find(&self, key: &str) -> Option<&'a Value> {
        let mut keys = key.split('.');
        let first = self.values.get(keys.next()?);
        keys.fold(first, |value, key| value.and_then(|value| value.get(key))).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.find(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(wrong(key, "true or false", other)),
        }
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        self.positive(key, "a positive number")
    }

    pub(super) fn positive(&self, key: &str, expected: &'static str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        let count = integer(value).and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        count.map(Some).ok_or_else(|| wrong(key, expected, value))
    }

    /// Reads an amount of memory: a number of bytes, or one with a unit.
    pub(super) fn memory(&self, key: &str) -> Result<Option<Memory>, ConfigError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        let found = value.as_u64().map(|bytes| bytes.to_string());
        let found = found.as_deref().or_else(|| value.as_str()).and_then(Memory::parse);
        found.map(Some).ok_or_else(|| wrong(key, "an amount of memory such as `2Gi`", value))
    }

    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    /// Reads what no message may show; YAML takes many a password for a number.
    pub(super) fn secret(&self, key: &str) -> Result<Option<Secret>, ConfigError> {
        self.find(key).map(|value| secret(value, || key.to_owned())).transpose()
    }

    /// Reads what no message may show from a map of names, which may have dots, at `key`.
    pub(super) fn secret_member(&self, key: &str, name: &str) -> Result<Option<Secret>, ConfigError> {
        let value = self.values.get(name).filter(|value| !value.is_null());
        value.map(|value| secret(value, || format!("{key}.{name}"))).transpose()
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(key, "a text", value))
    }

    /// Reads a list of texts; one text is a list of one.
    pub(super) fn texts(&self, key: &str, default: &[&str]) -> Result<Vec<String>, ConfigError> {
        let texts = match self.find(key) {
            None => return Ok(default.iter().map(|&text| text.to_owned()).collect()),
            Some(Value::String(text)) => return Ok(vec![text.clone()]),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        let found = || self.find(key).cloned().unwrap_or_default();
        texts.ok_or_else(|| wrong(key, "a list of texts", &found()))
    }
}

fn secret(value: &Value, key: impl FnOnce() -> String) -> Result<Secret, ConfigError> {
    match value {
        Value::String(text) => Ok(Secret(text.clone())),
        Value::Number(number) => Ok(Secret(number.to_string())),
        _ => Err(ConfigError::Value { key: key(), expected: "a text", found: "…".to_owned() }),
    }
}

/// Numbers may be written as texts, since that is what an expanded variable is.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

pub(super) fn integer(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

pub(super) fn wrong(key: &str, expected: &'static str, found: &Value) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), expected, found: found.to_string() }
}

/// A text that no message and no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text, for whoever has to use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
