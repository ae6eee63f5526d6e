//! Why a server could not start, or had to end.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::arguments::ArgumentsError;
use super::config::ConfigError;
use super::http::tls::TlsError;
use super::target::TargetError;
use super::tracing::TracingError;
use super::worker::placement::PlacementError;
use super::worker::supervisor::WorkerError;

/// A server that failed.
#[derive(Debug, Error)]
pub enum ServeError {
    /// `--host` or `BENTOML_HOST` is a name.
    #[error("Invalid host IP address: {host}")]
    Host {
        /// The host as given.
        host: String,
    },
    /// An environment variable that is no port.
    #[error("`{variable}` must be a port number, but is `{found}`")]
    Port {
        /// The variable.
        variable: &'static str,
        /// Its value.
        found: String,
    },
    /// `BENTOML_TIMEOUT` is no number.
    #[error("`BENTOML_TIMEOUT` must be a number of seconds, but is `{found}`")]
    Timeout {
        /// Its value.
        found: String,
    },
    /// `BENTOML_API_WORKERS` is no number of workers.
    #[error("`BENTOML_API_WORKERS` must be a number above 0, but is `{found}`")]
    ApiWorkers {
        /// Its value.
        found: String,
    },
    /// The target is nothing that can be served.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The arguments of the service cannot be read.
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    /// `--env` asks for an environment to be made.
    #[error(
        "cannot make an environment of kind `{kind}`: make it first, and give its interpreter with `--python`"
    )]
    MadeEnvironment {
        /// The kind as given.
        kind: String,
    },
    /// Who started the server cannot be told where it listens.
    #[error("cannot write the server's address to `{}`", path.display())]
    Announce {
        /// The file as given.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A unit asks for devices in a way that cannot be met.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The port cannot have TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Spans cannot be sent where they should go.
    #[error(transparent)]
    Tracing(#[from] TracingError),
    /// The address is taken.
    #[error("port {} is already in use on {}; stop what listens there, or choose another with `--port`", address.port(), address.ip())]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The asynchronous runtime or the signal handlers could not be set up.
    #[error("cannot set up the server")]
    SetUp(#[source] std::io::Error),
    /// A worker does not start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The command of a container cannot be run.
    #[error("cannot run `{command}`")]
    Exec {
        /// The command.
        command: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A second signal ended the server before its requests were finished.
    #[error("stopped by a second signal before all requests were finished")]
    Forced,
}

/// Writes an error and its causes as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {source}");
        cause = source.source();
    }
    text
}
