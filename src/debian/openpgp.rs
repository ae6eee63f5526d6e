//! Trust in release files: an OpenPGP signature by a key of the keyring that was good when it signed, and is now.
//!
//! `pgp` does the cryptography (RFC 9580); which keys and signatures count is decided here: certified by its owner,
//! bound, allowed to sign, neither expired nor revoked, no weak digest.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};
use thiserror::Error;

use super::command::CommandError;

/// How far a signer's clock may be ahead of ours, in seconds.
const CLOCK_TOLERANCE: u64 = 24 * 3600;

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
    /// The keyring cannot be read.
    #[error("the keyring cannot be read")]
    Keyring(#[source] Box<pgp::errors::Error>),
    /// The file is not a signed text.
    #[error("it is not a signed text")]
    Form(#[source] Box<pgp::errors::Error>),
    /// No signature is by a key of the keyring.
    #[error("no signature is by a trusted key; it is signed by {}", .signers.join(", "))]
    UnknownKey {
        /// Who signed it.
        signers: Vec<String>,
    },
    /// The signature by a trusted key is not of this text.
    #[error("the signature by key {key} is not of this text")]
    Mismatch {
        /// The key.
        key: String,
    },
    /// The key of the keyring may not be used.
    #[error("key {key} is expired, revoked or not for signing")]
    UnusableKey {
        /// The key.
        key: String,
    },
    /// The signature has expired, is from the future, or is made with a weak digest.
    #[error("the signature by key {key} is outdated, from the future, or weak")]
    UnusableSignature {
        /// The key.
        key: String,
    },
}

/// Verifies a signed text at the time `now` (seconds since the epoch), and gives the text that was signed.
pub(super) fn verify(document: &[u8], keyring: &[u8], now: u64) -> Result<String, SignatureError> {
    let keys = keys(keyring)?;
    let document = String::from_utf8_lossy(document);
    let (message, _) = CleartextSignedMessage::from_string(&document)
        .map_err(|error| SignatureError::Form(Box::new(error)))?;
    let text = message.signed_text();
    let mut refusals = Vec::new();
    for signature in message.signatures() {
        for key in &keys {
            match check(signature, &text, key, now) {
                None => {}
                Some(Ok(())) => return Ok(text.replace("\r\n", "\n")),
                Some(Err(error)) => refusals.push(error),
            }
        }
    }
    let signers = message.signatures().iter().map(issuer).collect();
    Err(refusals.into_iter().next().unwrap_or(SignatureError::UnknownKey { signers }))
}

fn keys(keyring: &[u8]) -> Result<Vec<SignedPublicKey>, SignatureError> {
    let unreadable = |error| SignatureError::Keyring(Box::new(error));
    let (keys, _) = SignedPublicKey::from_reader_many(keyring).map_err(unreadable)?;
    keys.collect::<Result<_, _>>().map_err(unreadable)
}

fn issuer(signature: &Signature) -> String {
    let fingerprints = signature.issuer_fingerprint().into_iter().map(ToString::to_string);
    let ids = signature.issuer_key_id().into_iter().map(ToString::to_string);
    fingerprints.chain(ids).next().unwrap_or_else(|| "nobody".to_owned())
}

/// Checks a signature with a key, if it is by that key or one of its subkeys.
fn check(
    signature: &Signature,
    text: &str,
    key: &SignedPublicKey,
    now: u64,
) -> Option<Result<(), SignatureError>> {
    let primary = &key.primary_key;
    if is_by(signature, primary) {
        let is_usable = primary_until(key, now).is_some_and(|may_sign| may_sign);
        return Some(check_with(signature, text, primary, is_usable, now));
    }
    let subkey = key.public_subkeys.iter().find(|subkey| is_by(signature, &subkey.key))?;
    let is_usable = primary_until(key, now).is_some() && is_usable_subkey(key, subkey, now);
    Some(check_with(signature, text, &subkey.key, is_usable, now))
}

fn check_with(
    signature: &Signature,
    text: &str,
    key: &impl VerifyingKey,
    is_usable: bool,
    now: u64,
) -> Result<(), SignatureError> {
    let name = key.fingerprint().to_string();
    if signature.verify(key, text.as_bytes()).is_err() {
        return Err(SignatureError::Mismatch { key: name });
    }
    if !is_usable {
        return Err(SignatureError::UnusableKey { key: name });
    }
    let is_of_text = matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text));
    let is_later = |time: u64| seconds(key.created_at()) <= time;
    match signature.created().map(seconds) {
        Some(created) if is_of_text && is_later(created) && is_current(signature, now) => Ok(()),
        _ => Err(SignatureError::UnusableSignature { key: name }),
    }
}

/// Whether a key is certified by itself, neither revoked nor expired at `now`; and if so, whether it may sign.
fn primary_until(key: &SignedPublicKey, now: u64) -> Option<bool> {
    let primary = &key.primary_key;
    let is_revoked = key.details.revocation_signatures.iter().any(|one| one.verify_key(primary).is_ok());
    let certifications = key.details.users.iter().flat_map(|user| {
        let is_own = |one: &&Signature| one.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(|one| is_by(one, primary)).filter(is_own)
    });
    let direct = key.details.direct_signatures.iter().filter(|one| one.verify_key(primary).is_ok());
    let newest = newest(certifications.chain(direct), now)?;
    let is_usable = !is_revoked && newest.typ() != Some(SignatureType::CertRevocation);
    (is_usable && is_alive(primary, newest, now)).then(|| newest.key_flags().sign())
}

/// Whether a subkey is bound to its key for signing, both ways, and neither revoked nor expired at `now`.
fn is_usable_subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: u64) -> bool {
    let primary = &key.primary_key;
    let bound =
        subkey.signatures.iter().filter(|one| one.verify_subkey_binding(primary, &subkey.key).is_ok());
    let is_revoked = bound.clone().any(|one| one.typ() == Some(SignatureType::SubkeyRevocation));
    let bindings = bound.filter(|one| one.typ() == Some(SignatureType::SubkeyBinding));
    let Some(newest) = newest(bindings, now).filter(|_| !is_revoked) else { return false };
    let is_back_signed = newest
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    newest.key_flags().sign() && is_back_signed && is_alive(&subkey.key, newest, now)
}

/// The newest of the signatures that are in force.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: u64) -> Option<&'a Signature> {
    signatures.filter(|one| is_current(one, now)).max_by_key(|one| one.created().map(seconds))
}

/// Whether a signature is neither from the future, nor expired, nor made with a digest that can be forged.
fn is_current(signature: &Signature, now: u64) -> bool {
    let is_strong = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha224
                | HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    let Some(created) = signature.created().map(seconds).filter(|_| is_strong) else { return false };
    let lifetime = signature.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    created <= now + CLOCK_TOLERANCE && (lifetime == 0 || now < created + lifetime)
}

/// Whether a key has not expired at `now`, by its newest binding.
fn is_alive(key: &impl KeyDetails, binding: &Signature, now: u64) -> bool {
    let lifetime = binding.key_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    lifetime == 0 || now < seconds(key.created_at()) + lifetime
}

fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().into_iter().any(|id| *id == key.legacy_key_id());
    }
    fingerprints.into_iter().any(|fingerprint| *fingerprint == key.fingerprint())
}

fn seconds(time: pgp::types::Timestamp) -> u64 {
    u64::from(time.as_secs())
}
