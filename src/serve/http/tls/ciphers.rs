//! Cipher suites by OpenSSL's names. Those of TLS 1.3 are always there, as with OpenSSL.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::ALL_CIPHER_SUITES;
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
};

use super::TlsError;

/// The suites of TLS 1.2 that are safe.
const SUITES: [(&str, SupportedCipherSuite); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-CHACHA20-POLY1305", TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// The names that can be configured.
pub(super) fn names() -> Vec<&'static str> {
    SUITES.iter().map(|(name, _)| *name).collect()
}

/// Finds the suites of the names, in their order, after those of TLS 1.3; without names, all.
pub(super) fn select(names: Option<&[String]>) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let Some(names) = names else { return Ok(ALL_CIPHER_SUITES.to_vec()) };
    let mut suites: Vec<SupportedCipherSuite> =
        ALL_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()).copied().collect();
    for name in names {
        let found = SUITES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, suite) = found.ok_or_else(|| TlsError::Cipher { name: name.clone() })?;
        suites.push(*suite);
    }
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_openssls() {
        let some = ["ecdhe-rsa-aes128-gcm-sha256".to_owned()];
        let suites = select(Some(&some)).unwrap();
        assert_eq!(suites.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
        assert!(suites.len() > 1);
        assert_eq!(select(None).unwrap().len(), ALL_CIPHER_SUITES.len());
        let message = select(Some(&["RC4-SHA".to_owned()])).unwrap_err().to_string();
        assert!(message.starts_with("`ssl.ciphers` has `RC4-SHA`, which is none of ECDHE-"), "{message}");
    }
}
