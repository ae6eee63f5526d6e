//! Blobs: whether they are there, and reading them (distribution-spec, Pulling Blobs).

use std::fs::File;
use std::io::{self, Write};

use bytes::{Bytes, BytesMut};

use super::backoff::Attempts;
use super::cache::BlobCache;
use super::error::RegistryError;
use super::repository::Repository;
use crate::blocking;
use crate::http::{Method, Request, Response, StatusCode, header};
use crate::oci::digest::{Digest, Hasher};
use crate::report::Progress;

/// Largest blob that is read into memory: configurations of images have a few kilobytes.
const MAX_SMALL: u64 = 8 * 1024 * 1024;
/// Bytes that are hashed and written at a time, off the threads that serve the network.
const BATCH: usize = 1024 * 1024;

impl Repository {
    /// Whether the repository has a blob, with the size it should have where the registry tells.
    pub async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let make = || Request::new(Method::HEAD, url.clone());
        let response = self.endpoint.call_again(&self.name, &self.scopes, make).await?;
        let length = response.header(header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        match (response.status(), length) {
            (StatusCode::OK, Some(actual)) if actual != size => Err(self.wrong_size(digest, size, actual)),
            (StatusCode::OK, _) => Ok(true),
            (StatusCode::NOT_FOUND, _) => Ok(false),
            _ => {
                Err(self.endpoint.unexpected(format!("tell whether it has blob `{digest}`"), response).await)
            }
        }
    }

    /// Reads a small blob by way of the cache.
    pub async fn small_blob(
        &self,
        digest: &Digest,
        size: u64,
        cache: &BlobCache,
    ) -> Result<Bytes, RegistryError> {
        if size > MAX_SMALL {
            let what = format!("blob `{digest}` of {size} bytes, where at most {MAX_SMALL} are read");
            return Err(self.endpoint.protocol(what));
        }
        if let Some(bytes) = cache.read_small(digest) {
            return Ok(bytes);
        }
        self.fetch_blob(digest, size, cache, &crate::report::Silent).await?;
        cache.read_small(digest).ok_or_else(|| RegistryError::Cache {
            action: "read",
            path: cache.path(digest),
            source: io::ErrorKind::InvalidData.into(),
        })
    }

    /// Downloads a blob into the cache, unless it is there; checks every byte and goes on where a connection breaks.
    pub async fn fetch_blob(
        &self,
        digest: &Digest,
        size: u64,
        cache: &BlobCache,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        let Some(reservation) = cache.reserve(digest, size).await? else { return Ok(()) };
        let mut sink = Sink::new(reservation.file()?);
        let of_file =
            |source| RegistryError::Cache { action: "write", path: reservation.path().to_owned(), source };
        let mut attempts = Attempts::new(self.endpoint.backoff());
        let (mut shown, mut farthest) = (0, 0);
        while sink.size < size {
            let mut received = |received: u64| {
                progress.advance(received.saturating_sub(shown));
                shown = shown.max(received);
            };
            match self.continue_blob(digest, size, &mut sink, &mut received).await {
                Ok(()) => {}
                Err(Failure::File(source)) => return Err(of_file(source)),
                Err(Failure::Registry(error)) => {
                    if sink.size > farthest {
                        farthest = sink.size;
                        attempts.progressed();
                    }
                    attempts.after(error).await?;
                }
            }
        }
        let (actual, _) = sink.finish().await.map_err(of_file)?;
        if actual != *digest {
            let registry = self.name.registry.clone();
            return Err(RegistryError::DigestMismatch {
                registry,
                what: "a blob".to_owned(),
                stated: *digest,
                actual,
            });
        }
        blocking::run(move || reservation.commit()).await
    }

    /// One request for what is missing of a blob.
    async fn continue_blob(
        &self,
        digest: &Digest,
        size: u64,
        sink: &mut Sink,
        received: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), Failure> {
        let mut response = self.open_blob(digest, sink.size).await?;
        if response.status() == StatusCode::OK && sink.size > 0 {
            // The registry does not know ranges: all over again.
            sink.restart().await.map_err(Failure::File)?;
        }
        let mut batch = BytesMut::new();
        loop {
            let chunk = match response.chunk().await {
                Ok(chunk) => chunk,
                Err(error) => {
                    sink.write(batch.freeze()).await.map_err(Failure::File)?;
                    return Err(self.endpoint.http_error(error).into());
                }
            };
            if let Some(chunk) = &chunk {
                batch.extend_from_slice(chunk);
                received(sink.size + batch.len() as u64);
            }
            if sink.size + batch.len() as u64 > size {
                return Err(self.wrong_size(digest, size, sink.size + batch.len() as u64).into());
            }
            if batch.len() >= BATCH || chunk.is_none() {
                sink.write(batch.split().freeze()).await.map_err(Failure::File)?;
            }
            if chunk.is_none() {
                break;
            }
        }
        if sink.size < size { Err(self.wrong_size(digest, size, sink.size).into()) } else { Ok(()) }
    }

    /// Asks for a blob from `offset` on.
    async fn open_blob(&self, digest: &Digest, offset: u64) -> Result<Response, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let make = || match offset {
            0 => Request::new(Method::GET, url.clone()),
            _ => Request::new(Method::GET, url.clone()).header(header::RANGE, &format!("bytes={offset}-")),
        };
        let response = self.endpoint.call(&self.name, &self.scopes, make).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(offset) => Ok(response),
            StatusCode::PARTIAL_CONTENT => {
                Err(self.endpoint.protocol(format!("another part of blob `{digest}` than was asked for")))
            }
            StatusCode::NOT_FOUND => Err(self.not_found(format!("blob `{digest}`"), response).await),
            _ => Err(self.endpoint.unexpected(format!("give blob `{digest}`"), response).await),
        }
    }

    fn wrong_size(&self, digest: &Digest, stated: u64, actual: u64) -> RegistryError {
        let registry = self.name.registry.clone();
        RegistryError::SizeMismatch { registry, what: format!("blob `{digest}`"), stated, actual }
    }
}

/// Why a download stopped.
enum Failure {
    Registry(RegistryError),
    File(io::Error),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

/// The file that is filled, and the hash of what is in it.
struct Sink {
    hasher: Option<Hasher<File>>,
    size: u64,
}

impl Sink {
    fn new(file: File) -> Self {
        Self { hasher: Some(Hasher::new(file)), size: 0 }
    }

    /// Hashes and writes on a blocking thread.
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let count = bytes.len() as u64;
        self.with(move |mut hasher| {
            let result = hasher.write_all(&bytes);
            (hasher, result)
        })
        .await?;
        self.size += count;
        Ok(())
    }

    async fn restart(&mut self) -> io::Result<()> {
        self.size = 0;
        self.with(|hasher| {
            let (_, file) = hasher.finish();
            let result = file.set_len(0);
            (Hasher::new(file), result)
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(Hasher<File>) -> (Hasher<File>, io::Result<T>) + Send + 'static,
    ) -> io::Result<T> {
        let hasher = self.hasher.take().ok_or_else(|| io::Error::other("the download was given up"))?;
        let (hasher, result) = blocking::run(move || work(hasher)).await;
        self.hasher = Some(hasher);
        result
    }

    async fn finish(mut self) -> io::Result<(Digest, u64)> {
        let hasher = self.hasher.take().ok_or_else(|| io::Error::other("the download was given up"))?;
        Ok(blocking::run(move || hasher.finish().0).await)
    }
}

/// Where a partial answer begins: `Content-Range: bytes START-END/SIZE`.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.header(header::CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}
