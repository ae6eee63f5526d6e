//! Reading the fields of an item's file, tolerantly: unknown keys are ignored, absent ones have
//! defaults where the original tool has them.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::{Content, Directory, Unread};
use super::layout::Kind;
use super::{CreationTime, Error};
use crate::tag::Tag;
use crate::yaml::{self, Value};

/// The longest `model.yaml` or `bento.yaml`: the largest real ones carry schemas of some hundred KiB.
pub const LONGEST_DESCRIPTION: u64 = 16 << 20;

/// An item's file, read.
pub(super) struct Fields {
    path: PathBuf,
    pub(super) document: Value,
}

impl Fields {
    /// The fields of the item in a directory.
    pub(super) fn of(kind: Kind, item: &Path, document: Value) -> Self {
        Self { path: item.join(kind.file_name()), document }
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

/// Reads the file of the item in `directory`, which is at `item`; the second value is its length.
pub(super) fn read(kind: Kind, item: &Path, directory: &Directory) -> Result<(Value, u64), Error> {
    let path = || item.join(kind.file_name());
    let unread = |error| match error {
        Unread::Failed(error) if error.kind() == io::ErrorKind::NotFound => {
            Error::NoItemFile { kind, path: item.to_owned() }
        }
        Unread::Failed(source) => Error::Read { path: path(), source },
        Unread::NotAFile => Error::NotAFile { path: path() },
        Unread::TooLong => Error::TooLong { path: path(), limit: LONGEST_DESCRIPTION },
    };
    let Content { bytes, size } = directory.read(kind.file_name(), LONGEST_DESCRIPTION).map_err(unread)?;
    let text = String::from_utf8(bytes).map_err(|error| Error::Read {
        path: path(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })?;
    let document = yaml::read_value(&text).map_err(|source| Error::Parse { path: path(), source })?;
    Ok((document, size))
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
