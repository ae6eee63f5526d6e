//! Connections to servers of others: whose certificates are trusted.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsError, roots};

/// The authority of a server, and its name.
#[derive(Clone)]
pub struct Trust {
    connector: TlsConnector,
    host: ServerName<'static>,
}

impl Trust {
    /// Trusts the authorities in a file, or those of the system, with the certificate of `host`.
    pub fn new(host: &str, authorities: Option<&Path>) -> Result<Self, TlsError> {
        // Addresses of IPv6 stand in brackets in URLs.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let host = ServerName::try_from(name).map_err(|_| TlsError::Host { host: host.to_owned() })?;
        let roots = authorities.map_or_else(|| Ok(of_system()), roots)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Versions)?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), host })
    }

    /// Agrees with the server on keys.
    pub async fn connect(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.host.clone(), socket).await
    }
}

fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // A system may have files that are no certificates among those that are.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("host", &self.host).finish_non_exhaustive()
    }
}
