//! The client of all registries, and its settings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::backoff::Backoff;
use super::cache::BlobCache;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::keychain::{Keychain, KeychainSettings};
use super::repository::Repository;
use crate::http;
use crate::oci::reference::Repository as Name;

/// Blobs that travel at the same time: enough to fill a link whose registry limits each connection, few enough not to
/// be taken for an attack. Docker's default is 3 down and 5 up.
const PARALLEL_BLOBS: usize = 4;

/// How registries are used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the cache of downloads.
    pub cache: PathBuf,
    /// Where credentials are.
    pub keychain: KeychainSettings,
    /// How transient errors are repeated.
    pub backoff: Backoff,
    /// Blobs that travel at the same time.
    pub parallel_blobs: usize,
}

impl Settings {
    /// The usual settings, with a cache in `cache`.
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            keychain: KeychainSettings::default(),
            backoff: Backoff::default(),
            parallel_blobs: PARALLEL_BLOBS,
        }
    }
}

/// The client of all registries. Clones share connections, tokens and cache.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: http::Client,
    keychain: Arc<Keychain>,
    settings: Settings,
    cache: BlobCache,
    endpoints: Mutex<BTreeMap<String, Arc<tokio::sync::OnceCell<Arc<Endpoint>>>>>,
}

impl Client {
    /// A client that sends its requests by `http`.
    pub fn new(http: http::Client, settings: Settings) -> Self {
        let keychain = Arc::new(Keychain::new(settings.keychain.clone()));
        let cache = BlobCache::new(settings.cache.clone());
        Self { inner: Arc::new(Inner { http, keychain, settings, cache, endpoints: Mutex::default() }) }
    }

    /// A repository, for which the way to its registry is found on first use.
    pub async fn repository(&self, name: &Name) -> Result<Repository, RegistryError> {
        let cell = {
            let mut endpoints = self.inner.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(endpoints.entry(name.registry.clone()).or_default())
        };
        let find =
            || Endpoint::find(name, &self.inner.http, &self.inner.keychain, &self.inner.settings.backoff);
        let endpoint = cell.get_or_try_init(find).await?;
        Ok(Repository::new(Arc::clone(endpoint), name.clone()))
    }

    /// The cache of downloads.
    pub fn cache(&self) -> &BlobCache {
        &self.inner.cache
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
