//! Private keys, encrypted or not.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfo;

use super::{PemObject, PrivateKeyDer, TlsError, pem, read as read_file};
use crate::serve::config::Secret;

/// What stands before and after an encrypted private key.
const ENCRYPTED: (&str, &str) =
    ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----");

/// A line of private keys that OpenSSL encrypted before it knew PKCS#8.
const OLD_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";

/// Reads the private key in a PEM file.
pub(super) fn read(path: &Path, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read_file(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if let Some(body) = encrypted(&text) {
        let password = password.ok_or_else(|| TlsError::Locked { path: path.to_owned() })?;
        return decrypt(path, body, password);
    }
    if text.contains(OLD_ENCRYPTION) {
        return Err(TlsError::OldEncryption { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        source => TlsError::Pem { path: path.to_owned(), source },
    })
}

fn encrypted(text: &str) -> Option<&str> {
    let (begin, end) = ENCRYPTED;
    Some(text.split_once(begin)?.1.split_once(end)?.0)
}

fn decrypt(path: &Path, body: &str, password: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    let body: String = body.split_whitespace().collect();
    let no_base64 = |_| TlsError::Pem {
        path: path.to_owned(),
        source: pem::Error::Base64Decode("the encrypted private key is not base64".to_owned()),
    };
    let der = STANDARD.decode(body).map_err(no_base64)?;
    let wrong = |source| TlsError::WrongPassword { path: path.to_owned(), source };
    let sealed = EncryptedPrivateKeyInfo::try_from(der.as_slice()).map_err(wrong)?;
    let opened = sealed.decrypt(password.reveal()).map_err(wrong)?;
    Ok(PrivateKeyDer::Pkcs8(opened.as_bytes().to_vec().into()))
}
