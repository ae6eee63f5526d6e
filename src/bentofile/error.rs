//! What can be wrong with a bentofile.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::text::NotUtf8;
use crate::yaml::Position;

/// A bentofile could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that was asked for is not there.
    #[error("bentofile \"{}\" not found", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The context is not a directory.
    #[error("build context `{}` is not a directory", path.display())]
    NoContext {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is in another encoding.
    #[error("{place}: the file is not UTF-8")]
    Encoding {
        /// Where the first such byte is.
        place: Place,
        /// Which byte.
        source: NotUtf8,
    },
    /// A file that the bentofile names cannot be read.
    #[error("{place}: `{key}` names the file `{}`, which cannot be read", path.display())]
    NamedFile {
        /// Where it is named.
        place: Place,
        /// The key that names it.
        key: String,
        /// The file as written, relative to the project.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not YAML or TOML.
    #[error("{place}: cannot parse the file: {message}")]
    Parse {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A key is given twice.
    #[error("{place}: key `{key}` is given twice")]
    DuplicateKey {
        /// The second time.
        place: Place,
        /// The key.
        key: String,
    },
    /// A key that nobody knows.
    #[error("{place}: unknown key `{key}`{}", Suggestion(.suggestion.as_deref()))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key with its section.
        key: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A value of another type than the key wants.
    #[error("{place}: `{key}` must be {expected}, not {found}")]
    WrongType {
        /// Where.
        place: Place,
        /// The key with its section.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value of the right type that cannot be used.
    #[error("{place}: invalid value `{value}` for `{key}`: {reason}")]
    BadValue {
        /// Where.
        place: Place,
        /// The key with its section.
        key: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: Box<Reason>,
    },
    /// A key that is needed for another one.
    #[error("{place}: `{section}` needs the key `{key}`")]
    MissingKey {
        /// Where.
        place: Place,
        /// The map that lacks it.
        section: String,
        /// The key.
        key: &'static str,
    },
}

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// One of a few words is wanted.
    #[error("expected one of {}", .0.join(", "))]
    NotOneOf(&'static [&'static str]),
    /// Not a name or tag.
    #[error(transparent)]
    Tag(#[from] crate::tag::Error),
    /// Outside of the build context.
    #[error("paths outside of the build context cannot be included; use a symbolic link or copy those files")]
    OutsideContext,
    /// Not `X.Y`.
    #[error("a version looks like `3.11`")]
    NotAVersion,
    /// No base for this Python.
    #[error("it is not supported for {distro}. Supported python versions are: {}", .supported.join(", "))]
    UnsupportedPython {
        /// The distribution.
        distro: String,
        /// What can be had.
        supported: &'static [&'static str],
    },
    /// Not `NAME=VALUE`.
    #[error("a variable looks like `NAME=VALUE`")]
    NotAVariable,
    /// Not a package index.
    #[error("a package index is a URL with its scheme, such as `https://pypi.org/simple`")]
    NotAnIndex,
    /// Not a file pattern.
    #[error("the pattern cannot be understood")]
    NotAPattern,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user knows it.
    pub file: PathBuf,
    /// Line and column, where they are known.
    pub at: Option<Position>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(at) = self.at { write!(f, ":{at}") } else { Ok(()) }
    }
}

struct Suggestion<'a>(Option<&'a str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |meant| write!(f, ", did you mean `{meant}`?"))
    }
}
