//! What can go wrong between here and a server.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::fs::FsError;
use crate::http::{HttpError, StatusCode};

/// A server did not do what was asked, or could not be asked.
#[derive(Debug, Error)]
pub enum CloudError {
    /// Nobody has logged in under this name.
    #[error("No cloud context {name} found")]
    NoContext {
        /// The name of the context.
        name: String,
    },
    /// The address of a server is none.
    #[error("`{endpoint}` is not the address of a server: `https://HOST` is")]
    Endpoint {
        /// The address, redacted.
        endpoint: String,
    },
    /// The file of contexts is not one. What is in it is not shown, for it holds tokens.
    #[error("cannot understand the cloud contexts in `{}`", path.display())]
    Contexts {
        /// The file.
        path: PathBuf,
    },
    /// A token that cannot be sent.
    #[error("the API token has characters that no token has")]
    Token,
    /// A request got no answer.
    #[error("cannot talk to `{endpoint}`")]
    Exchange {
        /// The address of the server, redacted.
        endpoint: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The server refused.
    #[error("request failed with status code {}: {message}", status.as_u16())]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said, redacted.
        message: String,
    },
    /// The server has a defect, and a number under which its people can find it.
    #[error("the server failed with status code {}: please report it to its operators with trace ID <{trace_id}>", status.as_u16())]
    Trace {
        /// The status.
        status: StatusCode,
        /// The number.
        trace_id: String,
    },
    /// Where the contents of items are kept refused: the place of a signed URL, which is not the server itself.
    #[error("the storage of the server answers with status code {}: {message}", status.as_u16())]
    Storage {
        /// The status.
        status: StatusCode,
        /// What it said, redacted.
        message: String,
    },
    /// The answer contradicts the protocol.
    #[error("`{endpoint}` does not answer with {expected}")]
    Protocol {
        /// The address of the server, redacted.
        endpoint: String,
        /// What should have come.
        expected: &'static str,
    },
    /// The contents that arrived are not those that were promised.
    #[error("the download ended after {arrived} of {promised} bytes")]
    Short {
        /// Bytes that arrived.
        arrived: u64,
        /// Bytes that were promised.
        promised: u64,
    },
    /// What is to be pushed cannot be read.
    #[error("cannot read what is to be pushed")]
    Read(#[source] io::Error),
    /// A file on this machine cannot be used.
    #[error(transparent)]
    File(#[from] FsError),
}

impl CloudError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Exchange { source, .. } => source.is_transient(),
            Self::Refused { status, .. } | Self::Trace { status, .. } | Self::Storage { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Short { .. } => true,
            _ => false,
        }
    }

    /// Whether the server knows the user, and says no: to a token that is wrong or may not do this.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. })
    }

    /// Whether a signed URL was too old, or said to be wrong for another reason: a fresh one may do.
    pub(super) fn is_expired(&self) -> bool {
        matches!(self, Self::Storage { status, .. } if status.is_client_error())
    }

    /// Whether what the request was about is not there, or not as it was thought to be.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status.as_u16(), 400 | 404 | 409),
            Self::Storage { status, .. } => *status == StatusCode::NOT_FOUND,
            _ => false,
        }
    }
}
