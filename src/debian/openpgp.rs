//! Trust in release files.

use thiserror::Error;

use super::command::CommandError;

/// A release file's signature cannot be trusted.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// apt refused it.
    #[error("apt does not accept it")]
    Apt {
        /// What apt said.
        #[source]
        source: CommandError,
    },
}
