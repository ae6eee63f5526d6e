//! What can go wrong with an archive.

use std::io;
use std::path::{Path, PathBuf};

use crate::report::Interrupted;

/// An archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No form is known that begins like this.
    #[error("this is no archive of a known form (tar, with xz, gzip, bzip2 or zstd, or zip)")]
    UnknownForm,
    /// A member that no honest archive of a model has.
    #[error("archive member `{}` {fault}", path.escape_debug())]
    Member {
        /// The name as the archive has it.
        path: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// It ends too early.
    #[error("the archive is cut off")]
    Truncated,
    /// Something follows its end.
    #[error("the archive has something behind its end")]
    Trailing,
    /// Its bytes are not what their form asks for.
    #[error("the archive is damaged")]
    Damaged(#[source] io::Error),
    /// Its headers contradict each other or themselves.
    #[error("the archive is damaged: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It unpacks to more than there is room for.
    #[error("the archive unpacks to more than the {limit} bytes that are free in `{}`", directory.display())]
    NoRoom {
        /// Where it was to go.
        directory: PathBuf,
        /// The bytes that may be used.
        limit: u64,
    },
    /// It has more members than any model.
    #[error("the archive has more than {limit} members")]
    TooMany {
        /// The number that is allowed.
        limit: u64,
    },
    /// Its names take more memory than those of any model.
    #[error("the archive has more than {limit} bytes of names")]
    LongNames {
        /// The bytes that are allowed.
        limit: u64,
    },
    /// It unpacks to far more than its own size.
    #[error("the archive unpacks to more than {ratio} times its size: it is made to fill the disk")]
    Bomb {
        /// The ratio that is allowed.
        ratio: u64,
    },
    /// Where the archive comes from fails.
    #[error("cannot read the archive")]
    Source(#[source] io::Error),
    /// Where the archive goes to fails.
    #[error("cannot write the archive")]
    Sink(#[source] io::Error),
    /// A file to be put into an archive cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file to be put into an archive is none.
    #[error("cannot archive `{}`: {fault}", path.display())]
    Unfit {
        /// The path.
        path: PathBuf,
        /// Why.
        fault: Fault,
    },
    /// A file became shorter or longer while it was put into an archive.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A member cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its name starts at the root of the file system.
    #[error("has an absolute name")]
    Absolute,
    /// Its name goes up.
    #[error("leads out of the archive")]
    Outside,
    /// It is there twice.
    #[error("is there more than once")]
    Duplicate,
    /// What should be the directory around it is something else.
    #[error("lies below something that is not a directory")]
    BelowFile,
    /// A link leads to a place outside.
    #[error("is a link that leads out, to `{}`", target.escape_debug())]
    LinkOut {
        /// Where it leads.
        target: String,
    },
    /// It is a link to a place that no link can lead to.
    #[error("is a link that leads to no name")]
    Target,
    /// Links lead to each other in a circle.
    #[error("is a link that leads nowhere")]
    LinkLoop,
    /// It shares its bytes with another.
    #[error("is a hard link")]
    HardLink,
    /// It is a device.
    #[error("is a device")]
    Device,
    /// It is a pipe or a socket.
    #[error("is a pipe or a socket")]
    Pipe,
    /// It is stored with holes.
    #[error("is stored as a sparse file")]
    Sparse,
    /// It wants a password.
    #[error("is encrypted")]
    Encrypted,
    /// It is of a kind that nobody knows.
    #[error("is neither a file, a directory nor a link")]
    Kind,
    /// Its name is no text.
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    /// Its name is too long or has characters that no name has.
    #[error("has a name that no file can have")]
    Name,
}

impl ArchiveError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }

    /// An error of the sink, or the wish to stop that came through it.
    pub(super) fn of_sink(error: io::Error) -> Self {
        if is_interrupt(&error) { Self::Interrupted(Interrupted) } else { Self::Sink(error) }
    }
}

/// Whether an I/O error carries the user's wish to stop.
pub(super) fn is_interrupt(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Interrupted>)
}
