//! What can go wrong in a store.

use std::io;
use std::path::PathBuf;

use super::copy::CopyError;
use super::layout::Kind;
use crate::tag::{self, Tag};
use crate::yaml;

/// An operation on a store failed.
///
/// The texts about items that are not there are those that scripts know from the original tool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No version fits.
    #[error(
        "{kind} '{typed}' is not found in BentoML store {}, you may need to run `{}` first",
        store.display(), kind.pull_command()
    )]
    NotFound {
        /// Model or bento.
        kind: Kind,
        /// The tag as typed.
        typed: String,
        /// The store.
        store: PathBuf,
    },
    /// The newest version of a name nobody knows was asked for.
    #[error("no {kind}s with name '{name}' exist in BentoML store {}", store.display())]
    NameNotFound {
        /// Model or bento.
        kind: Kind,
        /// The name.
        name: String,
        /// The store.
        store: PathBuf,
    },
    /// The versions of a name nobody knows were to be listed.
    #[error("no {kind}s with name '{name}' found")]
    NameNotListed {
        /// Model or bento.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// Several versions start with what was typed.
    #[error("Multiple {name} versions found: {}", versions.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// The versions that fit.
        versions: Vec<String>,
    },
    /// The tag is taken.
    #[error("Item '{tag}' already exists in the store {}", store.display())]
    AlreadyExists {
        /// The tag.
        tag: Tag,
        /// The store.
        store: PathBuf,
    },
    /// The file that makes a directory an item is not there.
    #[error("cannot load {kind} in `{}`: it does not contain a '{}'", path.display(), kind.file_name())]
    NoItemFile {
        /// Model or bento.
        kind: Kind,
        /// The version directory.
        path: PathBuf,
    },
    /// `model.yaml` or `bento.yaml` is a directory, a pipe or something else that is no file.
    #[error("cannot read `{}`: it is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// `model.yaml` or `bento.yaml` is larger than any honest one.
    #[error("cannot read `{}`: it is larger than {} MiB, the most that the description of an item may have", path.display(), limit >> 20)]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most bytes.
        limit: u64,
    },
    /// `model.yaml` or `bento.yaml` is not YAML.
    #[error("cannot parse `{}`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: yaml::ReadError,
    },
    /// `model.yaml` or `bento.yaml` lacks something or has something else in its place.
    #[error("Missing field '{field}' in `{}`", path.display())]
    MissingField {
        /// The file.
        path: PathBuf,
        /// The key.
        field: &'static str,
    },
    /// The value of a key cannot be used.
    #[error("field '{field}' in `{}` is not {expected}", path.display())]
    BadField {
        /// The file.
        path: PathBuf,
        /// The key.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A directory in the store, or the tag in an item's file, is not a valid name or version.
    #[error("`{}` does not name an item", path.display())]
    BadName {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: tag::Error,
    },
    /// The home cannot be used.
    #[error("cannot create the home directory `{}`", path.display())]
    CreateHome {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process could not be kept out.
    #[error("cannot lock `{}`", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An item cannot be removed.
    #[error("cannot delete `{}`", path.display())]
    Delete {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The user's files cannot be copied into the store.
    #[error("cannot copy files into the store")]
    Copy(#[from] CopyError),
}
