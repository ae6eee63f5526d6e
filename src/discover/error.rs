//! What can go wrong while a service is looked for, and what cannot be known without running it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::text::NotUtf8;

/// A place in a Python file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to the project.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The service could not be found or understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was said about the service, and the default place is empty.
    #[error("no service is named, and there is no `service.py` in the project")]
    NoServiceFile,
    /// The module that should hold the service is not there.
    #[error("no module `{module}` in the project: expected `{}`", path.display())]
    NoModule {
        /// The module.
        module: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// The text that names the service has another form than `module:attribute`.
    #[error("`{text}` does not name a service: expected `module:attribute` or `file.py:attribute`")]
    BadTarget {
        /// The text.
        text: String,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is in another encoding.
    #[error("{place}: the file is not UTF-8")]
    Encoding {
        /// Where the first such byte is.
        place: Place,
        /// Which byte.
        source: NotUtf8,
    },
    /// A file is not Python.
    #[error("{place}: cannot parse the file: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// The module has no service.
    #[error("no service found in the module `{module}`: no class in it is decorated with `@bentoml.service`")]
    NoService {
        /// The module.
        module: String,
    },
    /// The module has several services that nobody depends on.
    #[error("the module `{module}` has several services, name one: {}", candidates.join(", "))]
    SeveralServices {
        /// The module.
        module: String,
        /// What can be named.
        candidates: Vec<String>,
    },
    /// What was named is not there.
    #[error("no `{attribute}` in the module `{module}`{}", Known(known))]
    NoAttribute {
        /// The module.
        module: String,
        /// What was named.
        attribute: String,
        /// The services that are there.
        known: Vec<String>,
    },
    /// What was named is something else.
    #[error(
        "{place}: `{attribute}` is neither a class decorated with `@bentoml.service` nor a `bentoml.Service`"
    )]
    NotAService {
        /// Where.
        place: Place,
        /// What was named.
        attribute: String,
    },
    /// Two services of one bento have the same name.
    #[error("{place}: a service named `{name}` exists already in this bento")]
    DuplicateService {
        /// The second one.
        place: Place,
        /// The name.
        name: String,
    },
}

impl Error {
    /// Whether another name of the service would help.
    pub fn is_about_target(&self) -> bool {
        matches!(
            self,
            Self::NoServiceFile
                | Self::NoModule { .. }
                | Self::BadTarget { .. }
                | Self::NoService { .. }
                | Self::SeveralServices { .. }
                | Self::NoAttribute { .. }
        )
    }
}

struct Known<'a>(&'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", its services are {}", self.0.join(", ")) }
    }
}

/// Something that cannot be known without running the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {subject} cannot be known without running the code: {reason}")]
pub struct Unresolved {
    /// Where.
    pub place: Place,
    /// What it is for.
    pub subject: Subject,
    /// Why it is not known.
    pub reason: Reason,
}

/// What an unknown value is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The tag of a model.
    Model {
        /// The class and attribute.
        attribute: String,
    },
    /// A keyword of a decorator.
    Keyword {
        /// The decorated thing and the keyword.
        keyword: String,
    },
    /// What a service depends on.
    Dependency {
        /// The class and attribute.
        attribute: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { attribute } => write!(f, "the model of `{attribute}`"),
            Self::Keyword { keyword } => write!(f, "the value of `{keyword}`"),
            Self::Dependency { attribute } => write!(f, "the service behind `{attribute}`"),
        }
    }
}

/// Why a value is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is computed in a way that is not followed.
    #[error("{0} is not a constant")]
    NotConstant(&'static str),
    /// A name has no definition that can be followed.
    #[error("`{0}` is not defined in the project's files")]
    UnknownName(String),
    /// A name is defined in several places.
    #[error("`{0}` is defined in more than one place")]
    Ambiguous(String),
    /// A variable of the environment has no value now.
    #[error("the environment variable `{0}` is not set")]
    UnsetVariable(String),
    /// A call that is not followed.
    #[error("the call of `{0}` is not followed")]
    Call(String),
    /// An operation on values of the wrong type or shape.
    #[error("{0} of these values fails")]
    Fails(&'static str),
    /// Definitions that go in a circle, or too far.
    #[error("its definition is too deep")]
    TooDeep,
}
