//! File trees from Debian packages: without root, without running their scripts, without a registry.
//!
//! A [`Request`] is resolved into a [`Lock`], its packages are fetched into a [`Cache`], and [`assemble`](assemble())
//! makes them a [`Tree`](crate::oci::tree::Tree) for a layer: a base image, or the packages that a Debian-like base
//! lacks. The same lock gives the same tree. Packages come from an [`Archive`]: the host's [`AptGet`], or a mirror
//! spoken to directly.

mod alternatives;
mod apt;
mod archive;
mod assemble;
mod bytecode;
mod cache;
mod command;
mod control;
mod deb;
mod error;
mod fixups;
mod index;
mod lock;
mod mirror;
mod openpgp;
mod relation;
mod release;
mod request;
mod resolve;
mod sources;
mod status;
mod unpack;
mod version;

pub use apt::AptGet;
pub use archive::{ARCHIVE_KEYRING, Archive, DEFAULT_MIRROR, DEFAULT_SECURITY_MIRROR, Watch};
pub use assemble::{Bytecode, Options, Root, User, assemble};
pub use bytecode::lay_out_python;
pub use cache::{Cache, Packages};
pub use command::CommandError;
pub use error::{DebError, Error};
pub use lock::{Lock, LockError, LockedPackage};
pub use mirror::{Expiry, Mirror, MirrorSettings};
pub use openpgp::SignatureError;
pub use request::{Architecture, Installed, Provided, Request, installed, python_of_suite, suite_of_python};
pub use unpack::UsrLayout;
pub use version::compare as compare_versions;

use crate::oci::digest::Digest;
use crate::oci::json;
use index::Index;

/// Whether what was resolved before is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Use what is known, if anything is.
    Known,
    /// Ask the archive what is current.
    Current,
}

/// Finds the exact packages of a request. The answer is remembered until a [`Freshness::Current`] one is asked for.
pub fn resolve(
    request: &Request,
    freshness: Freshness,
    archive: &dyn Archive,
    cache: &Cache,
    watch: Watch<'_>,
) -> Result<Lock, Error> {
    archive::check_suite(&request.suite)?;
    let identity = archive.identity(&request.suite)?;
    let key = Digest::of(&json::canonical(&(request, &identity)));
    let _held = cache.hold(watch)?;
    if freshness == Freshness::Known
        && let Some(lock) = cache.lock(&key)?
    {
        return Ok(lock);
    }
    let index = index(request, freshness, &identity, (archive, cache), watch)?;
    watch.interrupt.check()?;
    let lock = resolve::resolve(request, &index)?;
    lock.check()?;
    cache.store_lock(&key, &lock)?;
    Ok(lock)
}

/// The packages of a suite, from the cache where that is wanted, so that several requests see the same ones.
fn index(
    request: &Request,
    freshness: Freshness,
    identity: &str,
    (archive, cache): (&dyn Archive, &Cache),
    watch: Watch<'_>,
) -> Result<Index, Error> {
    let key = Digest::of(&json::canonical(&(&request.suite, request.architecture, identity)));
    if freshness == Freshness::Known
        && let Some(index) = cache.index(&key)?
    {
        return Ok(index);
    }
    let index = Index::parse(archive.update(&request.suite, request.architecture, watch)?)?;
    cache.store_index(&key, &index)?;
    Ok(index)
}
