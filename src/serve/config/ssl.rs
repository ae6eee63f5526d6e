//! The section `ssl`, whose values are those of Python's module of that name.

use std::path::PathBuf;

use serde_json::Value;

use super::ConfigError;
use super::reader::{Reader, Secret, integer, wrong};

/// How a port is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssl {
    /// The file with the server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// The file with the private key; it may be the same.
    pub key: PathBuf,
    /// What the private key is encrypted with.
    pub key_password: Option<Secret>,
    /// The file with the authorities of clients.
    pub authorities: Option<PathBuf>,
    /// Which clients are let in.
    pub clients: Clients,
    /// The versions of TLS.
    pub versions: Versions,
    /// The cipher suites of TLS 1.2 by OpenSSL's names; `None` is all that are safe.
    pub ciphers: Option<Vec<String>>,
}

/// Which clients are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All.
    All,
    /// Those without a certificate, and those whose certificate an authority has signed.
    Verified,
    /// Those whose certificate an authority has signed.
    VerifiedOnly,
}

/// The versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    All,
    /// 1.2 alone.
    OnlyTls12,
}

impl Ssl {
    /// Reads the section; `None` when TLS is off.
    pub(super) fn read(root: &Reader<'_>) -> Result<Option<Self>, ConfigError> {
        if !root.flag("ssl.enabled", false)? {
            return Ok(None);
        }
        let Some(certificate) = root.path("ssl.certfile")? else {
            return Err(wrong("ssl.certfile", "set when `ssl.enabled` is", &Value::Null));
        };
        let authorities = root.path("ssl.ca_certs")?;
        let clients = clients(root)?;
        if clients != Clients::All && authorities.is_none() {
            let expected = "set when `ssl.cert_reqs` asks for certificates of clients";
            return Err(wrong("ssl.ca_certs", expected, &Value::Null));
        }
        Ok(Some(Self {
            key: root.path("ssl.keyfile")?.unwrap_or_else(|| certificate.clone()),
            key_password: root.secret("ssl.keyfile_password")?,
            certificate,
            authorities,
            clients,
            versions: versions(root)?,
            ciphers: ciphers(root)?,
        }))
    }
}

fn clients(root: &Reader<'_>) -> Result<Clients, ConfigError> {
    let Some(value) = root.find("ssl.cert_reqs") else { return Ok(Clients::All) };
    match integer(value) {
        Some(0) => Ok(Clients::All),
        Some(1) => Ok(Clients::Verified),
        Some(2) => Ok(Clients::VerifiedOnly),
        _ => Err(wrong("ssl.cert_reqs", "0 (none), 1 (optional) or 2 (required)", value)),
    }
}

/// `PROTOCOL_TLS` is 2, `PROTOCOL_TLS_SERVER` 17, `PROTOCOL_TLSv1_2` 5.
fn versions(root: &Reader<'_>) -> Result<Versions, ConfigError> {
    let Some(value) = root.find("ssl.version") else { return Ok(Versions::All) };
    match integer(value) {
        Some(2 | 17) => Ok(Versions::All),
        Some(5) => Ok(Versions::OnlyTls12),
        Some(0 | 1 | 3 | 4) => Err(ConfigError::Unsupported {
            key: "ssl.version",
            reason: "SSL and TLS before 1.2 are broken; use 17 (TLS 1.2 and 1.3) or 5 (TLS 1.2)",
        }),
        _ => Err(wrong("ssl.version", "17 (TLS 1.2 and 1.3) or 5 (TLS 1.2)", value)),
    }
}

/// Reads `NAME:NAME`; some words of OpenSSL stand for all suites.
fn ciphers(root: &Reader<'_>) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(text) = root.text("ssl.ciphers")? else { return Ok(None) };
    let is_all = |word: &str| ["ALL", "DEFAULT", "HIGH", "TLSv1", "TLSv1.2"].contains(&word);
    let words = text.split([':', ',', ' ']).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_owned).collect();
    if words.is_empty() || words.iter().any(|word| is_all(word)) {
        return Ok(None);
    }
    Ok(Some(words))
}
