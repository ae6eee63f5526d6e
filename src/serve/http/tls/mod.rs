//! TLS: a port's certificate, and the certificates of its clients.

mod ciphers;
mod key;
pub mod socket;
pub mod trust;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig, SupportedProtocolVersion};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::serve::config::Ssl;
use crate::serve::config::ssl::{Clients, Versions};

/// The only protocol that is spoken, by its registered name.
const HTTP_1_1: &[u8] = b"http/1.1";

/// What is spoken; the last is TLS 1.2.
static ALL_VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Certificates, keys or names of TLS that cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}` for TLS", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("`{}` is not PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file without a certificate.
    #[error("`{}` has no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file without a private key.
    #[error("`{}` has no private key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key whose password was not given.
    #[error(
        "the private key in `{}` is encrypted: give its password as `--ssl-keyfile-password` or `ssl.keyfile_password`",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A private key that the password does not open.
    #[error("the password does not open the private key in `{}`", path.display())]
    WrongPassword {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pkcs8::Error,
    },
    /// A private key whose encryption says nothing of the password.
    #[error(
        "the private key in `{}` is encrypted in an old way: convert it with `openssl pkcs8 -topk8 -in {} -out NEW`",
        path.display(),
        path.display()
    )]
    OldEncryption {
        /// The file.
        path: PathBuf,
    },
    /// A certificate and a key of different pairs.
    #[error(
        "the private key in `{}` is not the one of the certificate in `{}`",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// A certificate or key of a kind that is not understood.
    #[error("cannot use the certificate in `{}` with the private key in `{}`", certificate.display(), key.display())]
    Pair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// A file of authorities with something that is none.
    #[error("cannot use the authorities in `{}`", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// Certificates of clients cannot be verified.
    #[error("cannot verify clients with the authorities in `{}`", path.display())]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: VerifierBuilderError,
    },
    /// A cipher suite that is not there.
    #[error("`ssl.ciphers` has `{name}`, which is none of {}", ciphers::names().join(", "))]
    Cipher {
        /// Its name.
        name: String,
    },
    /// A host that no certificate can be for.
    #[error("`{host}` is no name of a host")]
    Host {
        /// The host.
        host: String,
    },
    /// The versions and cipher suites leave nothing.
    #[error("TLS cannot be spoken with these versions and ciphers")]
    Versions(#[source] rustls::Error),
}

/// What a port agrees with clients on keys with; `None` is a port without TLS.
pub type Protection = Option<TlsAcceptor>;

/// Makes what a port agrees with clients on keys with.
pub fn acceptor(ssl: &Ssl) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: ciphers::select(ssl.ciphers.as_deref())?,
        ..ring::default_provider()
    });
    let certificates = certificates(&ssl.certificate)?;
    let key = key::read(&ssl.key, ssl.key_password.as_ref())?;
    let verifier = verifier(ssl, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions(ssl.versions)).map_err(TlsError::Versions)?;
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(certificates, key);
    let mut config = config.map_err(|source| unusable(ssl, source))?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unusable(ssl: &Ssl, source: rustls::Error) -> TlsError {
    let (certificate, key) = (ssl.certificate.clone(), ssl.key.clone());
    match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { key, certificate }
        }
        source => TlsError::Pair { certificate, key, source },
    }
}

fn versions(versions: Versions) -> &'static [&'static SupportedProtocolVersion] {
    match versions {
        Versions::All => ALL_VERSIONS,
        Versions::OnlyTls12 => &ALL_VERSIONS[1..],
    }
}

fn verifier(ssl: &Ssl, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(path) = ssl.authorities.as_ref().filter(|_| ssl.clients != Clients::All) else {
        return Ok(Arc::new(NoClientAuth));
    };
    let roots = Arc::new(roots(path)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = if ssl.clients == Clients::Verified { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|source| TlsError::Verifier { path: path.clone(), source })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
