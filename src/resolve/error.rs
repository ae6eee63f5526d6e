//! What can go wrong while inputs are resolved.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::fs::FsError;

/// An input of the image could not be resolved.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FsError),
    /// A layer of the base image could not be read.
    #[error("cannot read the base image `{base}`")]
    Base {
        /// The base as the user named it.
        base: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The base image has no interpreter of the version that the service is locked for.
    #[error("the base image `{base}` has no Python {wanted}{}", found(.others))]
    NoPython {
        /// The base as the user named it.
        base: String,
        /// The version wanted.
        wanted: String,
        /// The versions that it has.
        others: Vec<String>,
    },
    /// The base image uses musl, for which the locked packages are not made.
    #[error("the base image `{base}` uses the musl C library, and the locked Python packages need glibc")]
    Musl {
        /// The base as the user named it.
        base: String,
    },
    /// There is no `ekiben-serve` to put into images.
    #[error("there is no `ekiben-serve` for `{platform}` at `{path}`")]
    NoServer {
        /// Where it was looked for.
        path: PathBuf,
        /// The image's platform.
        platform: String,
    },
    /// The `ekiben-serve` found does not run in every image.
    #[error("`{path}` cannot be put into an image: {reason}")]
    BadServer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn found(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!(", only Python {}", others.join(", ")) }
}
