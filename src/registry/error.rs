//! What can go wrong with a registry.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::keychain::CredentialsOrigin;
use super::refusal::Refusal;
use crate::http::HttpError;
use crate::oci::digest::Digest;

/// A registry did not do what was asked.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// No connection: wrong name or port, no network, a proxy in between, or nobody listens.
    #[error("cannot reach registry `{registry}`")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The registry's certificate is not trusted, or it does not speak TLS.
    #[error("registry `{registry}` cannot be trusted")]
    Tls {
        /// Host and port.
        registry: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The connection broke or stalled.
    #[error("the exchange with registry `{registry}` failed")]
    Transfer {
        /// Host and port.
        registry: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// 401 or 403, with the best credentials there are.
    #[error("registry `{registry}` refuses access to `{repository}` {credentials}")]
    Unauthorized {
        /// Host and port, as `docker login` takes it.
        registry: String,
        /// Path of the repository.
        repository: String,
        /// The credentials that were sent.
        credentials: CredentialsOrigin,
        /// What the registry said.
        #[source]
        refusal: Box<Refusal>,
    },
    /// The registry has no such manifest, blob or repository.
    #[error("registry `{registry}` has no {what}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// The thing asked for, such as ``manifest `a/b:1` ``.
        what: String,
        /// What the registry said.
        #[source]
        refusal: Box<Refusal>,
    },
    /// The registry wants fewer requests.
    #[error("registry `{registry}` gets too many requests{}", .retry_after.map(|after| format!(", and allows the next in {} s", after.as_secs())).unwrap_or_default())]
    TooManyRequests {
        /// Host and port.
        registry: String,
        /// When the next request is allowed.
        retry_after: Option<Duration>,
        /// What the registry said.
        #[source]
        refusal: Box<Refusal>,
    },
    /// Any other answer that is not the one the protocol has.
    #[error("registry `{registry}` does not {attempted}")]
    Status {
        /// Host and port.
        registry: String,
        /// What it was asked to do.
        attempted: String,
        /// What the registry said.
        #[source]
        refusal: Box<Refusal>,
    },
    /// The answer contradicts the protocol.
    #[error("registry `{registry}` answers with {what}")]
    Protocol {
        /// Host and port.
        registry: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The registry asks for a kind of authorisation that ekiben does not know.
    #[error("registry `{registry}` asks for an unknown kind of authorisation: `{challenge}`")]
    Challenge {
        /// Host and port.
        registry: String,
        /// What it asks for.
        challenge: String,
    },
    /// The token service that the registry names gives none.
    #[error("the token service `{realm}` of registry `{registry}` gives no token {credentials}")]
    Token {
        /// Host and port.
        registry: String,
        /// Redacted URL of the service.
        realm: String,
        /// The credentials that were sent.
        credentials: CredentialsOrigin,
        /// What the service said.
        #[source]
        refusal: Box<Refusal>,
    },
    /// The token service would get the credentials without encryption.
    #[error("registry `{registry}` wants credentials sent to `{realm}` without encryption")]
    InsecureRealm {
        /// Host and port.
        registry: String,
        /// Redacted URL of the token service.
        realm: String,
    },
    /// A file with credentials cannot be read.
    #[error("cannot read credentials from `{path}`")]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A document with credentials cannot be understood.
    #[error("cannot understand the credentials in {place}")]
    CredentialsSyntax {
        /// File or variable.
        place: String,
        /// Why. Nothing of the document's content is in it.
        #[source]
        source: io::Error,
    },
    /// A credential helper failed.
    #[error("`{helper}` gives no credentials for `{server}`")]
    Helper {
        /// Name of the program.
        helper: String,
        /// What was asked for.
        server: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are not those that the digest names.
    #[error("{what} from registry `{registry}` is said to be `{stated}`, and is `{actual}`")]
    DigestMismatch {
        /// Host and port.
        registry: String,
        /// The thing read.
        what: String,
        /// The digest that was asked for.
        stated: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// There are more or fewer bytes than there should be.
    #[error("{what} from registry `{registry}` is said to have {stated} bytes, and has {actual}")]
    SizeMismatch {
        /// Host and port.
        registry: String,
        /// The thing read.
        what: String,
        /// The size in the manifest.
        stated: u64,
        /// Bytes received; at least so many, where there were too many.
        actual: u64,
    },
    /// A file of the cache of downloads cannot be used.
    #[error("cannot {action} `{path}`")]
    Cache {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The registry forgot an upload, or is somewhere else in it than it should be.
    #[error("registry `{registry}` lost the upload of blob `{digest}`")]
    UploadLost {
        /// Host and port.
        registry: String,
        /// The blob's digest.
        digest: Digest,
    },
    /// A blob to be pushed cannot be read.
    #[error("cannot read blob `{digest}`, which is to be pushed")]
    Blob {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl RegistryError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TooManyRequests { .. } | Self::UploadLost { .. } => true,
            Self::Status { refusal, .. } | Self::Token { refusal, .. } => refusal.is_transient(),
            Self::Unreachable { source, .. } | Self::Transfer { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// What the registry said, where it said something.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Unauthorized { refusal, .. }
            | Self::NotFound { refusal, .. }
            | Self::TooManyRequests { refusal, .. }
            | Self::Status { refusal, .. }
            | Self::Token { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// How long the registry wants the client to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_after)
    }

    pub(super) fn of_http(registry: &str, source: HttpError) -> Self {
        let registry = registry.to_owned();
        match source {
            HttpError::Connect { .. } => Self::Unreachable { registry, source },
            HttpError::Tls { .. } => Self::Tls { registry, source },
            _ => Self::Transfer { registry, source },
        }
    }
}
