//! Taking typed values out of a tree, with errors that say where.

use std::path::Path;

use super::error::{Error, Place, Reason};
use super::schema;
use crate::yaml::{Kind, Node, Position, Scalar, Value};

/// A value of the file: where it stands and what it is called.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) file: &'a Path,
    pub(super) node: &'a Node,
    /// The key with its section: `docker.python_version`, `envs[2].name`.
    pub(super) key: &'a str,
}

/// A map of the file whose keys are known.
pub(super) struct Table<'a> {
    file: &'a Path,
    section: String,
    at: Position,
    entries: Vec<(String, &'a Node)>,
}

impl<'a> Table<'a> {
    /// Takes a map; every key has to be one of `known`, where that is given.
    pub(super) fn new(entry: Entry<'a>, known: Option<&[&str]>) -> Result<Self, Error> {
        let Kind::Map(pairs) = &entry.node.kind else {
            return Err(entry.wrong_type("a map"));
        };
        let mut table = Self {
            file: entry.file,
            section: entry.key.to_owned(),
            at: entry.node.at,
            entries: Vec::with_capacity(pairs.len()),
        };
        for (key, value) in pairs {
            let place = Place { file: entry.file.to_owned(), at: Some(key.at) };
            let Kind::Scalar(name) = &key.kind else {
                let expected = "a map with text keys";
                let key = table.name_of("?");
                return Err(Error::WrongType { place, key, expected, found: "a map with other keys" });
            };
            if known.is_some_and(|known| !known.contains(&name.text.as_str())) {
                let suggestion = schema::suggest(&name.text, known.unwrap_or_default());
                return Err(Error::UnknownKey { place, key: table.name_of(&name.text), suggestion });
            }
            table.entries.push((name.text.clone(), value));
        }
        Ok(table)
    }

    /// Hands a value to a reader; absent and null are the same.
    pub(super) fn read<T>(
        &self,
        key: &str,
        reader: impl FnOnce(Entry<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some((_, node)) = self.entries.iter().find(|(name, _)| name == key) else { return Ok(None) };
        if matches!(&node.kind, Kind::Scalar(scalar) if scalar.value == Value::Null) {
            return Ok(None);
        }
        reader(Entry { file: self.file, node, key: &self.name_of(key) }).map(Some)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Error> {
        self.read(key, text)
    }

    pub(super) fn required_text(&self, key: &'static str) -> Result<String, Error> {
        self.text(key)?.ok_or_else(|| Error::MissingKey {
            place: Place { file: self.file.to_owned(), at: Some(self.at) },
            section: self.section.clone(),
            key,
        })
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, boolean)
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, Error> {
        self.read(key, texts)
    }

    /// A list of texts, or one text.
    pub(super) fn texts_or_one(&self, key: &str) -> Result<Option<Vec<String>>, Error> {
        self.read(key, |entry| match &entry.node.kind {
            Kind::Scalar(_) => Ok(vec![entry.text()?]),
            _ => entry.texts(),
        })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &'a Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), *node))
    }

    /// The name of a key with its section.
    pub(super) fn name_of(&self, key: &str) -> String {
        if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn scalar(self, expected: &'static str) -> Result<&'a Scalar, Error> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.value != Value::Null => Ok(scalar),
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// Text; a number, date or boolean counts as the text it is written as.
    pub(super) fn text(self) -> Result<String, Error> {
        self.scalar("text").map(|scalar| scalar.text.clone())
    }

    pub(super) fn boolean(self) -> Result<bool, Error> {
        match self.scalar("true or false")?.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    pub(super) fn texts(self) -> Result<Vec<String>, Error> {
        self.items(text)
    }

    /// Hands each item of a list to a reader.
    pub(super) fn items<T>(
        self,
        mut reader: impl FnMut(Entry<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let Kind::List(items) = &self.node.kind else { return Err(self.wrong_type("a list")) };
        let items = items.iter().enumerate();
        items
            .map(|(index, node)| {
                let key = format!("{}[{index}]", self.key);
                reader(Entry { file: self.file, node, key: &key })
            })
            .collect()
    }

    pub(super) fn wrong_type(self, expected: &'static str) -> Error {
        Error::WrongType {
            place: self.place(),
            key: if self.key.is_empty() { "bentofile".to_owned() } else { self.key.to_owned() },
            expected,
            found: self.node.describe(),
        }
    }

    pub(super) fn bad_value(self, value: &str, reason: Reason) -> Error {
        Error::BadValue {
            place: self.place(),
            key: self.key.to_owned(),
            value: value.to_owned(),
            reason: Box::new(reason),
        }
    }

    pub(super) fn one_of(self, words: &'static [&'static str]) -> Result<&'static str, Error> {
        let text = self.text()?;
        let word = words.iter().find(|word| **word == text);
        word.copied().ok_or_else(|| self.bad_value(&text, Reason::NotOneOf(words)))
    }

    fn place(self) -> Place {
        Place { file: self.file.to_owned(), at: Some(self.node.at) }
    }
}

// As functions these fit a reader for any lifetime, which the methods do not.

fn text(entry: Entry<'_>) -> Result<String, Error> {
    entry.text()
}

fn boolean(entry: Entry<'_>) -> Result<bool, Error> {
    entry.boolean()
}

fn texts(entry: Entry<'_>) -> Result<Vec<String>, Error> {
    entry.texts()
}
