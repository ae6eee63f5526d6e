//! Places on other machines, named by URLs: object stores, FTP, SFTP, HTTP, WebDAV, Dropbox.
//!
//! [`Location`] is what a URL says, [`Remotes`] opens it. Credentials come from the environment that is handed in, and
//! from the files that it leads to; nothing else is looked for, and no metadata service of a cloud is asked. All HTTP
//! goes through the one client, with its trust and its limits.

mod credentials;
mod error;
mod fetch;
mod location;
mod netrc;
mod operator;
mod read;
mod write;

use std::path::PathBuf;

use tokio::runtime::Handle;

pub use error::RemoteError;
pub use location::{Location, SCHEMES, Scheme};
pub use read::RemoteReader;
pub use write::RemoteWriter;

use crate::env::Environment;
use crate::http::{Client, ClientSettings};
use crate::report::Interrupt;

/// What it takes to reach other machines.
#[derive(Clone)]
pub struct Remotes {
    /// Names credentials, and the files that hold some.
    pub environment: Environment,
    /// Runs the transfers; everything here blocks.
    pub runtime: Handle,
    /// Where is kept what has to be known whole before it is sent.
    pub scratch: PathBuf,
    /// Ends transfers.
    pub interrupt: Interrupt,
}

impl Remotes {
    fn client(&self) -> Result<Client, RemoteError> {
        let extra_roots = self.environment.path("SSL_CERT_FILE").into_iter().collect();
        Ok(Client::new(&ClientSettings { extra_roots, ..ClientSettings::default() })?)
    }

    /// Waits for a transfer, or for the wish to stop it.
    fn wait<T>(&self, work: impl Future<Output = Result<T, RemoteError>>) -> Result<T, RemoteError> {
        self.runtime.block_on(self.interrupt.guard(work))?
    }
}
