//! What can go wrong on the way to a server and back.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{Method, Url};
use crate::redact;

/// A request did not get its answer. Answers with an error status are not errors here.
#[derive(Debug, Error)]
pub enum HttpError {
    /// A file of additional certificate authorities is unusable.
    #[error("cannot read certificates from `{path}`")]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A certificate authority of the system is unusable, where all of them have to be usable.
    #[error("cannot read the system's certificates, which `SSL_CERT_FILE` and `SSL_CERT_DIR` can replace")]
    SystemRoots(#[source] Box<dyn StdError + Send + Sync>),
    /// The client cannot be made.
    #[error("cannot set up HTTP with TLS")]
    Setup(#[source] Box<dyn StdError + Send + Sync>),
    /// No connection could be made.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection is not secure.
    #[error("cannot make a secure connection to `{host}`")]
    Tls {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Nothing moved for too long.
    #[error("`{method} {url}` got no answer in {seconds} s")]
    Timeout {
        /// The request's method.
        method: Method,
        /// The redacted URL.
        url: String,
        /// How long it waited.
        seconds: u64,
    },
    /// The connection ended before the answer did.
    #[error("`{method} {url}` broke off")]
    Transfer {
        /// The request's method.
        method: Method,
        /// The redacted URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is larger than it may be.
    #[error("`{method} {url}` answers with more than {limit} bytes")]
    TooLarge {
        /// The request's method.
        method: Method,
        /// The redacted URL.
        url: String,
        /// Most bytes allowed.
        limit: u64,
    },
    /// The server sends the client somewhere it must not go.
    #[error("`{method} {url}` is redirected to `{location}`: {reason}")]
    Redirect {
        /// The request's method.
        method: Method,
        /// The redacted URL.
        url: String,
        /// The redacted target.
        location: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl HttpError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Transfer { .. } => true,
            Self::Connect { source, .. } => is_reset(source),
            _ => false,
        }
    }

    /// Tells what kind of failure a reqwest error is.
    pub(super) fn of(method: &Method, url: &Url, source: reqwest::Error) -> Self {
        let source = source.without_url();
        if let Some(tls) = tls_error(&source) {
            return Self::Tls { host: host_of(url), source: tls.clone() };
        }
        if source.is_connect() {
            return Self::Connect { host: host_of(url), source };
        }
        Self::Transfer { method: method.clone(), url: redact::url(url), source }
    }
}

/// Host and port of a URL.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An error of the chain of causes.
type Cause = dyn StdError + 'static;

/// Every cause of an error, including those that an I/O error wraps.
fn causes(error: &Cause) -> Vec<&Cause> {
    let mut chain = vec![error];
    let mut last = error;
    while let Some(next) = wrapped(last) {
        chain.push(next);
        last = next;
    }
    chain
}

fn wrapped(error: &Cause) -> Option<&Cause> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.map(|inner| inner as &Cause).or_else(|| error.source())
}

fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).into_iter().find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

fn is_reset(error: &reqwest::Error) -> bool {
    let errors = causes(error).into_iter().filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.map(io::Error::kind).any(|kind| {
        matches!(
            kind,
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    })
}
