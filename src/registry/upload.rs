//! Uploads: mounts, whole blobs, and going on after a broken connection (distribution-spec, Pushing Blobs).
//!
//! A blob is sent in one `PUT`. When that breaks, the registry is asked how much it has, and the rest follows in
//! `PATCH`es. Registries that refuse large requests (413) get pieces. docker-registry 2.8 cannot go on, and does not
//! let such an upload be cancelled: it wants the state of its last answer, which a broken request did not get. There
//! the blob is sent again, and the registry removes the remains by itself after a week.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;

use super::backoff::Attempts;
use super::error::RegistryError;
use super::repository::Repository;
use super::scopes::Scopes;
use crate::blocking;
use crate::http::{Body, Method, Request, Response, StatusCode, Url, header};
use crate::oci::blob::Blob;
use crate::oci::digest::Digest;
use crate::oci::reference::Repository as Name;
use crate::report::{Interrupt, Interrupted, Progress};

/// First size of pieces for a registry that refuses a whole blob; each further refusal quarters it.
const FIRST_PIECE: u64 = 64 * 1024 * 1024;
/// Smallest piece: below it requests cost more than they carry. nginx refuses more than 1 MiB by default.
const LEAST_PIECE: u64 = 512 * 1024;
/// How long giving up an upload may take after an interrupt.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// How a blob got into the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// The registry took it from another repository.
    Mounted,
    /// It was sent.
    Sent,
}

/// One blob on its way into a repository.
struct Upload<'a> {
    repository: &'a Repository,
    scopes: Scopes,
    digest: Digest,
    blob: Arc<dyn Blob>,
    /// Where the next request of the session goes; none before there is a session.
    session: Option<Url>,
    /// Whether something was sent in the session.
    is_touched: bool,
    /// Largest body of one request; none while the registry takes whole blobs.
    piece: Option<u64>,
    /// Where the registry said it was when it was last asked.
    acknowledged: u64,
    /// The farthest that it ever was.
    farthest: u64,
    progress: Arc<HighWater>,
    /// Why the blob could not be read.
    unreadable: Arc<Mutex<Option<io::Error>>>,
}

/// Progress that never goes back, although an upload may.
struct HighWater {
    progress: Box<dyn Progress>,
    mark: AtomicU64,
}

/// What the registry did with an attempt.
enum Step {
    /// The blob is there.
    Done,
    /// The session is gone or confused: begin again.
    Restart,
    /// The request was too large: again with smaller ones.
    Smaller,
}

impl Repository {
    /// Puts a blob into the repository: mounted from `origin` where the registry can, else sent.
    ///
    /// Ends early, and gives up the upload at the registry, when `interrupt` is raised.
    pub async fn push_blob(
        &self,
        digest: Digest,
        blob: Arc<dyn Blob>,
        origin: Option<&Name>,
        progress: Box<dyn Progress>,
        interrupt: &Interrupt,
    ) -> Result<Result<Uploaded, RegistryError>, Interrupted> {
        interrupt.check()?;
        let mut upload = Upload {
            repository: self,
            scopes: Scopes::push(&self.name.path),
            digest,
            blob,
            session: None,
            is_touched: false,
            piece: None,
            acknowledged: 0,
            farthest: 0,
            progress: Arc::new(HighWater { progress, mark: AtomicU64::new(0) }),
            unreadable: Arc::default(),
        };
        let result = interrupt.guard(upload.run(origin)).await;
        if !matches!(result, Ok(Ok(_))) {
            upload.cancel().await;
        }
        result
    }
}

impl Upload<'_> {
    async fn run(&mut self, origin: Option<&Name>) -> Result<Uploaded, RegistryError> {
        let origin = origin.filter(|origin| {
            origin.registry == self.repository.name.registry && origin.path != self.repository.name.path
        });
        if let Some(origin) = origin
            && self.mount(origin).await?
        {
            return Ok(Uploaded::Mounted);
        }
        let backoff = self.repository.endpoint.backoff().clone();
        let mut attempts = Attempts::new(&backoff);
        loop {
            let error = match self.attempt().await {
                Ok(Step::Done) => return Ok(Uploaded::Sent),
                Ok(Step::Restart) => {
                    self.session = None;
                    self.lost()
                }
                Ok(Step::Smaller) => {
                    attempts.progressed();
                    self.session = None;
                    continue;
                }
                Err(error) => error,
            };
            if let Some(source) = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(RegistryError::Blob { digest: self.digest, source });
            }
            if self.acknowledged > self.farthest {
                self.farthest = self.acknowledged;
                attempts.progressed();
            }
            attempts.after(error).await?;
        }
    }

    /// Asks the registry to take the blob from another repository. When it does not, an upload may have begun.
    async fn mount(&mut self, origin: &Name) -> Result<bool, RegistryError> {
        let mut url = self.repository.url("blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &self.digest.to_string())
            .append_pair("from", &origin.path);
        let scopes = Scopes::mount(&self.repository.name.path, &origin.path);
        let make = || Request::new(Method::POST, url.clone());
        let response = self.repository.endpoint.call_again(&self.repository.name, &scopes, make).await;
        match response {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(true),
            Ok(response) if response.status() == StatusCode::ACCEPTED => {
                self.session = Some(self.repository.endpoint.location(&response)?);
                Ok(false)
            }
            // A registry that does not want to mount still takes the blob.
            Ok(_) | Err(RegistryError::Unauthorized { .. } | RegistryError::Token { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Goes on from where the registry is.
    async fn attempt(&mut self) -> Result<Step, RegistryError> {
        if self.session.is_none() {
            self.begin().await?;
            self.acknowledged = 0;
            self.is_touched = false;
        } else if self.is_touched && !self.resume().await? {
            // The session may be gone because the blob is complete.
            let has = self.repository.has_blob(&self.digest, self.blob.size()).await?;
            return Ok(if has { Step::Done } else { Step::Restart });
        }
        self.is_touched = true;
        if self.acknowledged == 0 && self.piece.is_none() {
            return self.close(0).await;
        }
        while self.acknowledged < self.blob.size() {
            if let Some(step) = self.patch().await? {
                return Ok(step);
            }
        }
        self.close(self.blob.size()).await
    }

    /// Opens a session.
    async fn begin(&mut self) -> Result<(), RegistryError> {
        let url = self.repository.url("blobs/uploads/")?;
        let response = self.call(|| Request::new(Method::POST, url.clone())).await?;
        match response.status() {
            StatusCode::ACCEPTED => self.follow(&response),
            StatusCode::NOT_FOUND => {
                let what = format!("repository `{}` to push to", self.repository.name.path);
                Err(self.repository.not_found(what, response).await)
            }
            _ => Err(self.repository.endpoint.unexpected("begin an upload", response).await),
        }
    }

    /// Asks how much of the blob the registry has. Whether the session still exists.
    async fn resume(&mut self) -> Result<bool, RegistryError> {
        let url = self.session()?;
        let response = self.call(|| Request::new(Method::GET, url.clone())).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Ok(false);
        }
        self.acknowledged = range_end(&response).unwrap_or(0);
        if response.header(header::LOCATION.as_str()).is_some() {
            self.follow(&response)?;
        }
        Ok(self.acknowledged <= self.blob.size())
    }

    /// Sends everything from `offset` on and names the digest, which completes the blob.
    async fn close(&mut self, offset: u64) -> Result<Step, RegistryError> {
        let mut url = self.session()?;
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let end = self.blob.size();
        let make = || {
            Request::new(Method::PUT, url.clone())
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .body(self.body(offset, end))
        };
        let response = self.call(make).await?;
        match response.status() {
            status if status.is_success() => {
                self.progress.reach(end);
                Ok(Step::Done)
            }
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Ok(Step::Restart),
            StatusCode::PAYLOAD_TOO_LARGE if offset < end => self.too_large(response).await,
            _ => {
                let error = self.refused(response).await;
                // Pieces that were put together wrongly are no reason to give up; a whole blob that is wrong is.
                let is_wrong = error.refusal().is_some_and(|refusal| refusal.has_code("DIGEST_INVALID"));
                if is_wrong && offset > 0 && self.piece.is_none() { Ok(Step::Restart) } else { Err(error) }
            }
        }
    }

    /// Sends the next piece. Nothing while there is more to do.
    async fn patch(&mut self) -> Result<Option<Step>, RegistryError> {
        let start = self.acknowledged;
        let rest = self.blob.size() - start;
        let end = start + self.piece.map_or(rest, |piece| piece.min(rest));
        let url = self.session()?;
        let make = || {
            Request::new(Method::PATCH, url.clone())
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_RANGE, &format!("{start}-{}", end - 1))
                .body(self.body(start, end))
        };
        let response = self.call(make).await?;
        match response.status() {
            // Some registries complete the blob with its last piece.
            StatusCode::CREATED if end == self.blob.size() => Ok(Some(Step::Done)),
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                self.acknowledged = range_end(&response).unwrap_or(end);
                self.follow(&response)?;
                let is_sane = self.acknowledged > start && self.acknowledged <= end;
                Ok(if is_sane { None } else { Some(Step::Restart) })
            }
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(Step::Restart)),
            StatusCode::PAYLOAD_TOO_LARGE => self.too_large(response).await.map(Some),
            _ => Err(self.refused(response).await),
        }
    }

    /// Chooses smaller pieces, if that is possible.
    async fn too_large(&mut self, response: Response) -> Result<Step, RegistryError> {
        let next = self.piece.map_or(FIRST_PIECE, |piece| piece / 4);
        let next = next.min(self.blob.size().div_ceil(2)).max(LEAST_PIECE);
        let last = self.piece.unwrap_or(self.blob.size());
        if next >= last {
            return Err(self.refused(response).await);
        }
        self.piece = Some(next);
        Ok(Step::Smaller)
    }

    /// Tells the registry that nothing more will come, so that it keeps no half of a blob.
    async fn cancel(&mut self) {
        let give_up = async {
            // The session may have moved on with what was sent.
            if self.is_touched && !self.resume().await? {
                return Ok(());
            }
            let url = self.session()?;
            self.call(|| Request::new(Method::DELETE, url.clone())).await.map(drop)
        };
        // Best effort: registries remove old uploads themselves.
        let _: Result<Result<(), RegistryError>, _> = tokio::time::timeout(CANCEL_TIMEOUT, give_up).await;
    }

    async fn call(&self, make: impl Fn() -> Request) -> Result<Response, RegistryError> {
        self.repository.endpoint.call(&self.repository.name, &self.scopes, make).await
    }

    fn follow(&mut self, response: &Response) -> Result<(), RegistryError> {
        self.session = Some(self.repository.endpoint.location(response)?);
        Ok(())
    }

    fn session(&self) -> Result<Url, RegistryError> {
        self.session.clone().ok_or_else(|| self.lost())
    }

    fn lost(&self) -> RegistryError {
        let registry = self.repository.name.registry.clone();
        RegistryError::UploadLost { registry, digest: self.digest }
    }

    /// The bytes from `start` to `end`, read while they are sent.
    fn body(&self, start: u64, end: u64) -> Body {
        if start == end {
            return Body::Empty;
        }
        let blob = Arc::clone(&self.blob);
        let progress = Arc::clone(&self.progress);
        let unreadable = Arc::clone(&self.unreadable);
        let mut position = start;
        let open = move || Ok(io::Read::take(blob.open_at(start)?, end - start));
        let watched = blocking::stream(open).map(move |piece| match piece {
            Ok(piece) => {
                progress.reach(position);
                position += piece.len() as u64;
                Ok(piece)
            }
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                *unreadable.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(copy)
            }
        });
        let stream: Pin<Box<dyn futures_util::Stream<Item = _> + Send>> = Box::pin(watched);
        Body::stream(stream, end - start)
    }

    async fn refused(&self, response: Response) -> RegistryError {
        self.repository.endpoint.unexpected(format!("take blob `{}`", self.digest), response).await
    }
}

impl HighWater {
    fn reach(&self, position: u64) {
        let before = self.mark.fetch_max(position, Ordering::Relaxed);
        self.progress.advance(position.saturating_sub(before));
    }
}

/// The number of bytes that `Range: 0-END` means.
///
/// `0-0` is what registries answer before the first byte, and so it is read.
fn range_end(response: &Response) -> Option<u64> {
    let range = response.header(header::RANGE.as_str())?;
    let (start, end) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    let end: u64 = end.trim().parse().ok().filter(|_| start.trim() == "0")?;
    Some(if end == 0 { 0 } else { end + 1 })
}
