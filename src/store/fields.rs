//! Reading the fields of an item's file, tolerantly: unknown keys are ignored, absent ones have
//! defaults where the original tool has them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::layout::Kind;
use super::{CreationTime, Error};
use crate::tag::Tag;
use crate::yaml::{self, Value};

/// An item's file, read.
pub(super) struct Fields {
    path: PathBuf,
    pub(super) document: Value,
}

impl Fields {
    pub(super) fn read(kind: Kind, item: &Path) -> Result<Self, Error> {
        let path = item.join(kind.file_name());
        let source = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoItemFile { kind, path: item.to_owned() },
            _ => Error::Read { path: path.clone(), source },
        })?;
        let document =
            yaml::read_value(&source).map_err(|source| Error::Parse { path: path.clone(), source })?;
        Ok(Self { path, document })
    }

    pub(super) fn tag(&self) -> Result<Tag, Error> {
        let (name, version) = (self.text("name")?, self.text("version")?);
        Tag::new(&name, &version).map_err(|source| Error::BadName { path: self.path.clone(), source })
    }

    /// A text that has to be there; a number that stands for one is accepted.
    pub(super) fn text(&self, field: &'static str) -> Result<String, Error> {
        match self.document.get(field) {
            None | Some(Value::Null) => Err(Error::MissingField { path: self.path.clone(), field }),
            Some(value) => scalar_text(value).ok_or_else(|| self.bad(field, "text")),
        }
    }

    pub(super) fn text_or(&self, field: &'static str, default: &str) -> Result<String, Error> {
        match self.document.get(field) {
            None | Some(Value::Null) => Ok(default.to_owned()),
            Some(_) => self.text(field),
        }
    }

    pub(super) fn time(&self) -> Result<CreationTime, Error> {
        let text = self.text("creation_time")?;
        CreationTime::parse(&text).ok_or_else(|| self.bad("creation_time", "a time"))
    }

    /// A value as it is, or the given one when there is none.
    pub(super) fn value_or(&self, field: &'static str, default: Value) -> Value {
        match self.document.get(field) {
            None | Some(Value::Null) => default,
            Some(value) => value.clone(),
        }
    }

    pub(super) fn list(&self, field: &'static str) -> Result<&[Value], Error> {
        match self.document.get(field) {
            None | Some(Value::Null) => Ok(&[]),
            Some(value) => value.as_list().ok_or_else(|| self.bad(field, "a list")),
        }
    }

    pub(super) fn labels(&self) -> Result<Vec<(String, String)>, Error> {
        texts(&self.value_or("labels", Value::Map(Vec::new())))
            .ok_or_else(|| self.bad("labels", "a map of text"))
    }

    pub(super) fn bad(&self, field: &'static str, expected: &'static str) -> Error {
        Error::BadField { path: self.path.clone(), field, expected }
    }
}

/// A map of text to text; other scalars count as the text they are written as.
pub(super) fn texts(value: &Value) -> Option<Vec<(String, String)>> {
    let entries = value.as_map()?.iter();
    entries.map(|(key, value)| Some((scalar_text(key)?, scalar_text(value)?))).collect()
}

/// A scalar as text.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) | Value::Timestamp(text) => Some(text.clone()),
        Value::Bool(value) => Some(if *value { "True" } else { "False" }.to_owned()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Writes labels.
pub(super) fn label_map(labels: &[(String, String)]) -> Value {
    Value::map(labels.iter().map(|(key, value)| (key, value.as_str().into())))
}
