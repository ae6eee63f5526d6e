//! What can go wrong with an engine.

use std::io;

use bollard::errors::Error as Cause;
use thiserror::Error;

/// An engine did not do what was asked.
#[derive(Debug, Error)]
pub enum EngineError {
    /// No engine answers at any of its addresses.
    #[error("no container engine answers ({})", .tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NotFound {
        /// The addresses that were tried, and what happened there.
        tried: Vec<Tried>,
    },
    /// The address is of a kind that ekiben cannot use.
    #[error(
        "`{host}` is not an engine's address that can be used: only `unix://` and plain `tcp://` are known"
    )]
    Address {
        /// The address as given.
        host: String,
    },
    /// The engine answered with an error.
    #[error("the engine at `{host}` does not {attempted}")]
    Refused {
        /// Its address.
        host: String,
        /// What it was asked to do.
        attempted: String,
        /// What it said.
        #[source]
        source: Cause,
    },
    /// The archive that the engine was to load could not be read.
    #[error("cannot read the image that `{host}` is to load")]
    Unreadable {
        /// The engine's address.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file for an image from the engine could not be written.
    #[error("cannot keep image `{name}` of the engine at `{host}`")]
    Unwritable {
        /// The engine's address.
        host: String,
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An address where no engine answers.
#[derive(Debug, Error)]
#[error("`{host}`: {reason}")]
pub struct Tried {
    /// The address.
    pub host: String,
    /// What happened.
    pub reason: String,
}

impl EngineError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { source, .. } => match source {
                Cause::DockerResponseServerError { status_code, .. } => {
                    matches!(status_code, 429 | 502 | 503 | 504)
                }
                Cause::RequestTimeoutError | Cause::HyperResponseError { .. } => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the engine has no such image.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused { source: Cause::DockerResponseServerError { status_code: 404, .. }, .. }
        )
    }
}

/// Why an address was given up, in a few words.
pub(super) fn reason(error: &Cause) -> String {
    match error {
        Cause::SocketNotFoundError(_) => "there is no such socket".to_owned(),
        Cause::RequestTimeoutError => "it does not answer in time".to_owned(),
        other => {
            let mut cause: &dyn std::error::Error = other;
            while let Some(next) = cause.source() {
                cause = next;
            }
            crate::redact::text(&cause.to_string())
        }
    }
}
