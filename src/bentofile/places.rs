//! Where every value of a build configuration is written, for whatever goes wrong with it later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Error, Place, Reason};
use crate::yaml::{Kind, Node, Position};

/// The file of a build configuration, and the place of every value in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    file: PathBuf,
    values: BTreeMap<String, Position>,
}

impl Places {
    /// The places of a file, before anything of it is known.
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), values: BTreeMap::new() }
    }

    /// Notes the places of a value called `key` and of everything in it.
    pub(super) fn add(&mut self, key: &str, node: &Node) {
        self.values.insert(key.to_owned(), node.at);
        match &node.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(&format!("{key}[{index}]"), item);
                }
            }
            Kind::Map(entries) => {
                for (name, value) in entries {
                    let Kind::Scalar(name) = &name.kind else { continue };
                    let full =
                        if key.is_empty() { name.text.clone() } else { format!("{key}.{}", name.text) };
                    self.add(&full, value);
                }
            }
        }
    }

    /// The place of a key, with its section: `docker.setup_script`, `python.packages[2]`. Where it is not in the file,
    /// the file alone.
    pub fn of(&self, key: &str) -> Place {
        Place { file: self.file.clone(), at: self.values.get(key).copied() }
    }

    /// Whether the key is written in the file.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The error that says that a value cannot be used.
    pub fn bad_value(&self, key: &str, value: &str, reason: Reason) -> Error {
        Error::BadValue {
            place: self.of(key),
            key: key.to_owned(),
            value: value.to_owned(),
            reason: Box::new(reason),
        }
    }
}
