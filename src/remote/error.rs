//! What can go wrong on another machine.

use std::io;

use crate::http::HttpError;
use crate::redact;
use crate::report::Interrupted;

/// A place on another machine could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The scheme of a URL is not known.
    #[error(
        "Unknown or unsupported protocol {scheme}. Some supported protocols are 'ftp', 's3', and 'file'."
    )]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// A URL lacks something, or has something that cannot be.
    #[error("`{url}` {what}")]
    Malformed {
        /// The redacted URL.
        url: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The environment does not say who asks.
    #[error("there are no credentials for `{url}`")]
    Credentials {
        /// The redacted URL.
        url: String,
        /// Where they are looked for.
        wanted: &'static str,
    },
    /// A file with credentials cannot be read.
    #[error("cannot read `{path}`")]
    CredentialsFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program that speaks for us is not there.
    #[error("cannot reach `{url}`: SFTP needs the program `ssh`")]
    NoSsh {
        /// The redacted URL.
        url: String,
    },
    /// Nothing is there.
    #[error("there is nothing at `{url}`")]
    NotFound {
        /// The redacted URL.
        url: String,
    },
    /// The service does not let us.
    #[error("`{url}` does not let us {action}: {detail}")]
    Denied {
        /// The redacted URL.
        url: String,
        /// As a verb.
        action: &'static str,
        /// What the service says, secrets left out.
        detail: String,
    },
    /// The service, or the way to it, failed.
    #[error("cannot {action} `{url}`: {detail}")]
    Service {
        /// The redacted URL.
        url: String,
        /// As a verb.
        action: &'static str,
        /// What the service says, secrets left out.
        detail: String,
    },
    /// The service takes no file of that size at once.
    #[error("cannot write `{url}`: it takes at most {limit} bytes")]
    TooLarge {
        /// The redacted URL.
        url: String,
        /// What it takes.
        limit: u64,
    },
    /// The end of what was sent is missing there.
    #[error("cannot write `{url}`: of {sent} bytes only {arrived} arrived")]
    Cut {
        /// The redacted URL.
        url: String,
        /// What was sent.
        sent: u64,
        /// What is there.
        arrived: u64,
    },
    /// A server answered with an error.
    #[error("cannot {action} `{url}`: the server answers with status {status}")]
    Status {
        /// The redacted URL.
        url: String,
        /// As a verb.
        action: &'static str,
        /// The status.
        status: u16,
    },
    /// A request got no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// What has to be kept meanwhile cannot be.
    #[error("cannot keep what goes to `{url}`")]
    Spool {
        /// The redacted URL.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl RemoteError {
    /// What a service's error means. Its context names URLs that may be signed, so only its message is kept.
    pub(super) fn of_service(url: String, action: &'static str, error: &opendal::Error) -> Self {
        let detail = redact::text(error.message());
        match error.kind() {
            opendal::ErrorKind::NotFound => Self::NotFound { url },
            opendal::ErrorKind::PermissionDenied => Self::Denied { url, action, detail },
            _ => Self::Service { url, action, detail: with_cause(detail, error) },
        }
    }

    /// For readers and writers.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Interrupted(interrupted) => io::Error::other(interrupted),
            error => io::Error::other(error),
        }
    }
}

/// Adds why a connection failed, which messages of services leave to their causes.
fn with_cause(detail: String, error: &opendal::Error) -> String {
    let mut last = std::error::Error::source(error);
    let mut deepest = None;
    while let Some(cause) = last {
        deepest = Some(redact::text(&cause.to_string()));
        last = cause.source();
    }
    match deepest {
        Some(cause) if !detail.contains(&cause) => format!("{detail}: {cause}"),
        _ => detail,
    }
}
