//! What can go wrong on the way from requirements to trees.

use std::io;
use std::path::PathBuf;

use super::target::PythonVersion;
use crate::process;

/// A failed operation of this module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Python version that is not `major.minor`.
    #[error("`{given}` is not a Python version like `3.11`")]
    PythonVersion {
        /// The text.
        given: String,
    },
    /// A platform no wheels are chosen for.
    #[error(
        "Python packages cannot be chosen for platform `{given}`; `linux/amd64` and `linux/arm64` are known"
    )]
    Platform {
        /// The text.
        given: String,
    },
    /// A file or directory could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The subject.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A requirements file could not be read.
    #[error("{}cannot read requirements file `{}`", Where(.place.as_deref()), path.display())]
    RequirementsFile {
        /// The file.
        path: PathBuf,
        /// Where it is named; none where it is the user's first.
        place: Option<String>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A requirement line that cannot be understood, or whose file is not there.
    #[error("{place}: cannot use the requirement `{line}`: {reason}")]
    Requirement {
        /// Where it is written.
        place: String,
        /// The line.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An index that is no URL.
    #[error("{place}: `{url}` is not a package index")]
    Index {
        /// The index.
        url: String,
        /// Where it is written.
        place: String,
    },
    /// A requirements file includes itself.
    #[error("requirements file `{}` includes itself through `{}`", path.display(), by.display())]
    RequirementsCycle {
        /// The file included again.
        path: PathBuf,
        /// The file that does.
        by: PathBuf,
    },
    /// A requirement line that an image cannot be built from.
    #[error(
        "{place}: `{line}` is an editable requirement, which would point at this machine; name the directory or a wheel without `-e`"
    )]
    Editable {
        /// The line.
        line: String,
        /// Where it is written.
        place: String,
    },
    /// An option without its value.
    #[error("{place}: option `{option}` needs a value")]
    OptionValue {
        /// The option.
        option: String,
        /// Where it is written.
        place: String,
    },
    /// A variable that a requirement line names is not set.
    #[error("index option names `${{{name}}}`, which is not set in the environment")]
    UnsetVariable {
        /// The variable.
        name: String,
    },
    /// There is no Python for uv to run with.
    #[error(
        "no Python found on this machine, which resolving Python packages needs; install `python3` (Debian: `apt-get install python3`)"
    )]
    NoPython,
    /// uv is absent and could not be obtained.
    #[error(
        "no usable `uv` (at least {minimum}) found, and installing {pinned} with pip failed; install uv, or pip for `{python}`"
    )]
    NoUv {
        /// The oldest that works.
        minimum: &'static str,
        /// The version that was tried.
        pinned: &'static str,
        /// The Python whose pip was tried.
        python: String,
        /// pip's failure.
        #[source]
        source: process::Error,
    },
    /// The requirements contradict each other or name what does not exist.
    #[error("the Python requirements cannot be resolved")]
    Resolve {
        /// The resolver's reasons.
        #[source]
        source: process::Error,
    },
    /// A package has no wheel for the target.
    #[error("a Python package has no wheel for {target} and would have to be compiled there")]
    NoWheel {
        /// Python version and platform.
        target: String,
        /// The resolver's reasons, which name the package.
        #[source]
        source: process::Error,
    },
    /// A locked package has no wheel.
    #[error("locked package `{package}` has no wheel, only a source distribution")]
    LockedWithoutWheel {
        /// Its name.
        package: String,
    },
    /// An index refused the credentials, or wants some.
    #[error(
        "a package index refused access; give credentials in the index URL, in `UV_INDEX_<NAME>_USERNAME` and `UV_INDEX_<NAME>_PASSWORD`, or in a netrc file"
    )]
    Authentication {
        /// The answer.
        #[source]
        source: process::Error,
    },
    /// An index did not answer.
    #[error("a package index could not be reached")]
    Unreachable {
        /// The attempts.
        #[source]
        source: process::Error,
    },
    /// A download is not what was locked.
    #[error("a downloaded Python package is not the one that was locked")]
    HashMismatch {
        /// Expected and received hashes.
        #[source]
        source: process::Error,
    },
    /// Any other failure of uv.
    #[error("uv could not {action} the Python packages")]
    Uv {
        /// What was asked of it, as a verb.
        action: &'static str,
        /// Its words.
        #[source]
        source: process::Error,
    },
    /// A lock that is not valid.
    #[error("cannot read the Python lock: {reason}")]
    Lock {
        /// What is wrong where.
        reason: String,
    },
    /// A lock names several wheels of one package.
    #[error("locked package `{package}` has {count} wheels; lock for one platform and Python version")]
    SeveralWheels {
        /// Its name.
        package: String,
        /// How many.
        count: usize,
    },
    /// A wheel contains something that has no place in an image.
    #[error("wheel `{wheel}` contains `{entry}`, {reason}")]
    HostileWheel {
        /// The wheel's file name.
        wheel: String,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// uv installed something else than it was told to.
    #[error("`{package}` {version} is missing from what uv installed")]
    NotInstalled {
        /// Its name.
        package: String,
        /// Its version.
        version: String,
    },
    /// The byte compiler failed as a whole.
    #[error("cannot compile Python files with `{program}`")]
    Compile {
        /// The interpreter.
        program: String,
        /// Its failure.
        #[source]
        source: process::Error,
    },
    /// An interpreter that does not answer, or is another version than wanted.
    #[error("`{program}` is not Python {wanted}")]
    Interpreter {
        /// The program.
        program: String,
        /// The version it should be.
        wanted: PythonVersion,
        /// Its failure, when it failed.
        #[source]
        source: Option<process::Error>,
    },
    /// A stop was asked for.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an I/O error with its path.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// Tells whether trying again later may succeed with the same inputs.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

struct Where<'a>(Option<&'a str>);

impl std::fmt::Display for Where<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |place| write!(formatter, "{place}: "))
    }
}

/// Something worth telling that did not stop the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Bytecode is missing, so the image starts slower.
    NoBytecode {
        /// The Python version that was looked for.
        wanted: PythonVersion,
    },
    /// Files that are no valid Python for this version, as shipped by the distribution.
    NotCompiled {
        /// How many, over all distributions.
        count: usize,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBytecode { wanted } => write!(
                formatter,
                "no Python {wanted} on this machine, so the image gets no bytecode and starts slower; install `python{wanted}`"
            ),
            Self::NotCompiled { count } => {
                write!(
                    formatter,
                    "{count} Python files are not valid for the image's Python and have no bytecode"
                )
            }
        }
    }
}
