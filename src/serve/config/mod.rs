//! The service's configuration: defaults, the decorator's arguments, the configuration file, overrides, flags.

pub mod cors;
pub mod identity_format;
pub mod layers;
mod reader;
pub mod runner;
pub mod service;
pub mod ssl;
pub mod tracing;

use std::path::PathBuf;

use thiserror::Error;

use crate::yaml::ReadError;

pub use cors::Cors;
pub use identity_format::IdentityFormat;
pub use layers::Layers;
pub use reader::Secret;
pub use runner::RunnerConfig;
pub use service::{AccessLog, Buckets, Compression, ServiceConfig};
pub use ssl::Ssl;
pub use tracing::Tracing;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// `BENTOML_CONFIG` names a file that cannot be read.
    #[error("cannot read the configuration file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// `BENTOML_CONFIG` names a file of another kind.
    #[error("the configuration file `{}` must end in `.yaml` or `.yml`", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The configuration file is not YAML.
    #[error("cannot understand the configuration file `{}`", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// `BENTOML_CONFIG_OVERRIDES` is not JSON.
    #[error("cannot understand `BENTOML_CONFIG_OVERRIDES`")]
    Json(#[source] serde_json::Error),
    /// `BENTOML_CONFIG_OPTIONS` has a word that is not `key=value`.
    #[error("`{word}` in `BENTOML_CONFIG_OPTIONS` is not of the form `key=value`")]
    Option {
        /// The word.
        word: String,
    },
    /// The configuration is of another version.
    #[error("invalid configuration: `version` must be 2, but is `{found}`")]
    Version {
        /// What it is.
        found: String,
    },
    /// A value that has a meaning, but none that can be had here.
    #[error("`{key}` is not supported as configured: {reason}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// A pattern that is no regular expression, or one that only Python understands.
    #[error("invalid configuration: `{key}` is no regular expression")]
    Pattern {
        /// The key.
        key: String,
        /// Why not.
        source: Box<regex::Error>,
    },
    /// A part of the configuration that should be a map is not.
    #[error("invalid configuration: `{key}` must be a map, but is `{found}`")]
    NotAMap {
        /// The key.
        key: String,
        /// What it is.
        found: String,
    },
    /// A value of a wrong kind or outside its limits.
    #[error("invalid configuration: `{key}` must be {expected}, but is `{found}`")]
    Value {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}
