//! Contents brought into the cache: several files at a time, each in several ranges, checked while they arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use super::api::{Hub, file_url};
use super::chunks::{CHUNK, Part};
use super::digests::{Arrival, Examine, Found, Frontier};
use super::error::HubError;
use super::snapshot::{ContentId, HubFile, Snapshot};
use super::space;
use crate::fs::{self, FsError};
use crate::http::{Request, Response, StatusCode, Url, header};
use crate::oci::digest::Digest;
use crate::redact;
use crate::report::Progress;

/// Large files at a time: their ranges keep all connections busy, and more of them would only be hashed later.
const LARGE_FILES: usize = 3;
/// Attempts with a fresh URL before a refusal counts: signed URLs expire while they are used.
const FRESH_URLS: u32 = 3;
/// Room that stays free for what else is written.
const RESERVE: u64 = 64 << 20;

/// What was brought.
#[derive(Debug)]
pub struct Fetched {
    /// The directory with the files.
    pub path: PathBuf,
    /// Bytes that came from the hub.
    pub downloaded: u64,
    /// Digest and size of every content with its envelope, for those that had one.
    pub enveloped: BTreeMap<ContentId, (Digest, u64)>,
}

/// A download of some files.
struct Transfer<'a> {
    hub: &'a Hub,
    snapshot: &'a Snapshot,
    connections: Semaphore,
    total: Box<dyn Progress>,
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    downloaded: u64,
    enveloped: BTreeMap<ContentId, (Digest, u64)>,
}

/// A content that is brought.
struct Job<'a> {
    file: &'a HubFile,
    part: &'a Part,
    progress: Option<Box<dyn Progress>>,
    /// Where the hub sent the last request.
    location: Mutex<Option<Url>>,
    /// Whether it ever sent one elsewhere, with a signature that may expire.
    was_redirected: AtomicBool,
}

impl Hub {
    /// Makes sure that all files of a snapshot are here, and linked where the hub's own client looks.
    pub async fn fetch(
        &self,
        snapshot: &Snapshot,
        examine: &(dyn Fn(&HubFile) -> Examine + Sync),
    ) -> Result<Fetched, HubError> {
        self.fetch_contents(snapshot, &snapshot.files.iter().collect::<Vec<_>>(), examine).await
    }

    /// Makes sure that the contents of some files are here. What arrives is always compared with what the hub says of it;
    /// what `examine` wants looked at is, too, where it was here already, and is brought again when it is damaged. Two
    /// processes that want the same content wait for each other, the hub's own client included. Once nothing is missing
    /// of the snapshot, its files are linked.
    pub async fn fetch_contents(
        &self,
        snapshot: &Snapshot,
        files: &[&HubFile],
        examine: &(dyn Fn(&HubFile) -> Examine + Sync),
    ) -> Result<Fetched, HubError> {
        let Outcome { downloaded, enveloped } = self.fetch_files(snapshot, files, examine).await?;
        let (cache, id) = (&self.inner.cache, &snapshot.repository.id);
        if snapshot.files.iter().all(|file| cache.has(id, file)) {
            cache.link(snapshot)?;
            cache.tidy(id)?;
        }
        Ok(Fetched { path: cache.snapshot(id, &snapshot.commit), downloaded, enveloped })
    }

    /// Bytes of a snapshot's contents that are not here.
    pub fn missing(&self, snapshot: &Snapshot) -> u64 {
        let mut seen = BTreeSet::new();
        let files = snapshot.files.iter().filter(|file| seen.insert(file.content));
        let missing = files.filter(|file| !self.inner.cache.has(&snapshot.repository.id, file));
        missing.map(|file| file.size).sum()
    }

    /// Remembers what a branch or tag means, of which everything is here.
    pub fn remember(&self, snapshot: &Snapshot, revision: &str) -> Result<(), HubError> {
        let Snapshot { repository, commit, .. } = snapshot;
        Ok(self.inner.cache.write_reference(&repository.id, revision, commit)?)
    }

    /// Makes sure that the content of one file is here, and gives its path.
    pub async fn fetch_content(&self, snapshot: &Snapshot, file: &HubFile) -> Result<PathBuf, HubError> {
        self.fetch_contents(snapshot, &[file], &|_| Examine::Nothing).await?;
        Ok(self.inner.cache.content(&snapshot.repository.id, file.content))
    }

    async fn fetch_files(
        &self,
        snapshot: &Snapshot,
        files: &[&HubFile],
        examine: &(dyn Fn(&HubFile) -> Examine + Sync),
    ) -> Result<Outcome, HubError> {
        let mut seen = BTreeSet::new();
        let files: Vec<&HubFile> = files.iter().copied().filter(|file| seen.insert(file.content)).collect();
        let id = &snapshot.repository.id;
        let cache = &self.inner.cache;
        let is_idle = |file: &&&HubFile| cache.has(id, file) && matches!(examine(file), Examine::Nothing);
        let work: Vec<&HubFile> = files.iter().filter(|file| !is_idle(file)).copied().collect();
        if work.is_empty() {
            return Ok(Outcome::default());
        }
        self.check(snapshot, &work)?;
        cache.prepare(id)?;
        let size = work.iter().map(|file| file.size).sum();
        let transfer = Transfer {
            hub: self,
            snapshot,
            connections: Semaphore::new(self.inner.settings.connections),
            total: self.inner.activity.report.task(&format!("model {id}"), Some(size)),
            outcome: Mutex::default(),
        };
        let (large, small): (Vec<&HubFile>, Vec<&HubFile>) = work.iter().partition(|file| file.size > CHUNK);
        let all = async |files: Vec<&HubFile>, at_a_time: usize| {
            let jobs = stream::iter(files).map(|file| transfer.file(file, examine(file)));
            jobs.buffer_unordered(at_a_time).try_collect::<Vec<()>>().await
        };
        let both =
            async { tokio::try_join!(all(large, LARGE_FILES), all(small, self.inner.settings.connections)) };
        self.inner.activity.interrupt.guard(both).await??;
        Ok(transfer.outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Finds out before the first byte what would stop the last one.
    fn check(&self, snapshot: &Snapshot, work: &[&HubFile]) -> Result<(), HubError> {
        let (cache, id) = (&self.inner.cache, &snapshot.repository.id);
        let missing: Vec<_> = work.iter().filter(|file| !cache.has(id, file)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.inner.settings.is_offline {
            return Err(HubError::Offline {
                repository: snapshot.repository.clone(),
                revision: snapshot.commit.to_string(),
                cache: cache.root().to_owned(),
            });
        }
        let rest =
            |file: &&&HubFile| file.size.saturating_sub(Part::taken(&cache.unfinished(id, file.content)));
        let needed: u64 = missing.iter().map(rest).sum();
        match space::available(cache.root()) {
            Some(available) if available < needed.saturating_add(RESERVE) => Err(HubError::Space {
                repository: snapshot.repository.clone(),
                commit: snapshot.commit.clone(),
                needed,
                available,
                cache: cache.root().to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Transfer<'_> {
    /// Brings a content, or looks at the one that is here.
    async fn file(&self, file: &HubFile, examine: Examine) -> Result<(), HubError> {
        let (cache, id) = (&self.hub.inner.cache, &self.snapshot.repository.id);
        let _lock = fs::lock_when_free(&cache.lock(id, file.content)).await?;
        let path = cache.content(id, file.content);
        if cache.has(id, file) {
            match self.look(file, &path, examine.clone()).await {
                Err(HubError::Damaged { .. }) => {
                    let report = &self.hub.inner.activity.report;
                    report.warn(&format!("`{}` is damaged, and is downloaded again", path.display()));
                }
                looked => return looked,
            }
        }
        let unfinished = cache.unfinished(id, file.content);
        let part = Part::open(unfinished.clone(), file.size)?;
        let was_begun = part.kept > 0;
        match self.bring(file, part, &path, examine.clone()).await {
            // What an earlier run left may have been lost by the disk.
            Err(HubError::Damaged { .. }) if was_begun => {
                let part = Part::open(unfinished, file.size)?;
                self.bring(file, part, &path, examine).await
            }
            brought => brought,
        }
    }

    /// Hashes a content that is here.
    async fn look(&self, file: &HubFile, path: &Path, examine: Examine) -> Result<(), HubError> {
        if matches!(examine, Examine::Nothing) {
            self.total.advance(file.size);
            return Ok(());
        }
        let read = |source| HubError::File(FsError::of("read", path)(source));
        let frontier = Arc::new(Frontier::new(file.size));
        frontier.advance(file.size);
        let arrival = Arrival { file: Arc::new(File::open(path).map_err(read)?), size: file.size, frontier };
        let found = arrival.digest(file.content, examine).await.map_err(read)?;
        self.accept(file, found)?;
        self.total.advance(file.size);
        Ok(())
    }

    async fn bring(&self, file: &HubFile, part: Part, path: &Path, examine: Examine) -> Result<(), HubError> {
        let report = &self.hub.inner.activity.report;
        let progress = (file.size > CHUNK).then(|| report.task(&file.path, Some(file.size)));
        self.total.advance(part.kept);
        if let Some(progress) = &progress {
            progress.advance(part.kept);
        }
        let arrival =
            Arrival { file: Arc::clone(part.file()), size: file.size, frontier: Arc::clone(part.frontier()) };
        let digests = async {
            let digested = arrival.digest(file.content, examine).await;
            digested.map_err(|source| HubError::File(FsError::of("read", path)(source)))
        };
        let (location, was_redirected) = (Mutex::default(), AtomicBool::default());
        let job = Job { file, part: &part, progress, location, was_redirected };
        let chunks = async {
            let fetched = self.chunks(&job).await;
            if fetched.is_err() {
                part.frontier().abandon();
            }
            fetched
        };
        // Not `try_join`: the threads that hash have to be seen to their end.
        let (fetched, found) = tokio::join!(chunks, digests);
        fetched?;
        match self.accept(file, found?) {
            Ok(()) => Ok(part.publish(path)?),
            Err(error) => {
                part.discard();
                Err(error)
            }
        }
    }

    /// Compares what was found with what was promised, and keeps the rest.
    fn accept(&self, file: &HubFile, found: Option<Found>) -> Result<(), HubError> {
        let found = found.expect("all bytes are here, so that their digest is known");
        if found.content != file.content {
            return Err(HubError::Damaged {
                repository: self.snapshot.repository.clone(),
                path: file.path.clone(),
                expected: file.content,
                found: found.content,
            });
        }
        if let Some(enveloped) = found.enveloped {
            self.outcome().enveloped.insert(file.content, enveloped);
        }
        Ok(())
    }

    /// Brings all missing chunks: the first shows whether the server gives ranges at all.
    async fn chunks(&self, job: &Job<'_>) -> Result<(), HubError> {
        let missing = job.part.missing();
        let Some((first, others)) = missing.split_first() else { return Ok(()) };
        self.chunk(job, *first).await?;
        let others = stream::iter(others).map(|index| self.chunk(job, *index));
        others.buffer_unordered(self.hub.inner.settings.connections).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Brings a chunk; goes on where a connection broke.
    async fn chunk(&self, job: &Job<'_>, index: usize) -> Result<(), HubError> {
        let (mut failed, mut expired) = (0, 0);
        loop {
            let before = job.part.rest(index);
            if before.is_empty() {
                return Ok(());
            }
            let permit = self.connections.acquire().await.expect("the semaphore is never closed");
            let error = match self.attempt(job, index).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            drop(permit);
            *job.location() = None;
            if job.part.rest(index) != before {
                (failed, expired) = (0, 0);
            }
            failed += 1;
            // A signed URL that is refused may have expired: the hub gives a fresh one.
            if job.was_redirected.load(Ordering::Relaxed) && expired < FRESH_URLS && is_expiry(&error) {
                expired += 1;
            } else {
                self.hub.pause(&error, failed).await.map_err(|()| self.named(job, error))?;
            }
        }
    }

    /// An error that says whose file it is about: a URL of a storage does not.
    fn named(&self, job: &Job<'_>, error: HubError) -> HubError {
        let is_of_url = matches!(error, HubError::Http(_) | HubError::Status { .. } | HubError::Short { .. });
        if !is_of_url {
            return error;
        }
        let repository = self.snapshot.repository.clone();
        HubError::Download { repository, path: job.file.path.clone(), source: Box::new(error) }
    }

    async fn attempt(&self, job: &Job<'_>, index: usize) -> Result<(), HubError> {
        let hub = self.hub;
        let known = job.location().clone();
        let url = known.map_or_else(|| file_url(self.snapshot, &job.file.path), Ok)?;
        let rest = job.part.rest(index);
        let is_whole = rest.start == 0 && rest.end == job.file.size;
        let request = hub.request(&self.snapshot.repository, &url);
        let request = if is_whole { request } else { ranged(request, &rest) };
        let response = hub.inner.http.send(request).await?;
        if response.url() != &url {
            *job.location() = Some(response.url().clone());
            job.was_redirected.store(true, Ordering::Relaxed);
        }
        let skipped = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                self.check_range(job, &response, rest.start)?;
                0
            }
            StatusCode::OK => {
                self.check_length(job, response.header(header::CONTENT_LENGTH.as_str()))?;
                rest.start
            }
            _ => {
                let subject = Some(job.file.path.as_str());
                return Err(hub.refusal(&self.snapshot.repository, subject, response).await);
            }
        };
        self.receive(job, index, response, skipped).await
    }

    /// Writes what arrives: from a server without ranges, into the following chunks too.
    async fn receive(
        &self,
        job: &Job<'_>,
        mut index: usize,
        mut response: Response,
        mut skipped: u64,
    ) -> Result<(), HubError> {
        let gives_all = response.status() == StatusCode::OK;
        while let Some(bytes) = response.chunk().await? {
            let passed = usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len());
            skipped -= passed as u64;
            let mut bytes = &bytes[passed..];
            while !bytes.is_empty() {
                let rest = job.part.rest(index);
                let length = usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX).min(bytes.len());
                job.part.write(index, rest.start, &bytes[..length])?;
                self.advance(job, length as u64);
                bytes = &bytes[length..];
                if job.part.rest(index).is_empty() {
                    let next = index + 1;
                    if !gives_all
                        || !job.part.missing().contains(&next)
                        || !job.part.rest(next).start.is_multiple_of(CHUNK)
                    {
                        return Ok(());
                    }
                    index = next;
                }
            }
        }
        let rest = job.part.rest(index);
        if rest.is_empty() {
            return Ok(());
        }
        // A server that does not say how much it sends just ends when its connection breaks.
        Err(HubError::Short { url: redact::url(response.url()), missing: rest.end - rest.start })
    }

    fn advance(&self, job: &Job<'_>, count: u64) {
        self.outcome().downloaded += count;
        self.total.advance(count);
        if let Some(progress) = &job.progress {
            progress.advance(count);
        }
    }

    /// `Content-Range: bytes START-END/TOTAL`, of the file that was listed.
    fn check_range(&self, job: &Job<'_>, response: &Response, start: u64) -> Result<(), HubError> {
        let range = response.header(header::CONTENT_RANGE.as_str()).unwrap_or_default();
        let parts = range.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
        let found = parts.and_then(|(range, total)| {
            let start: u64 = range.split_once('-')?.0.trim().parse().ok()?;
            Some((start, total))
        });
        match found {
            Some((found, total)) if found == start => {
                self.check_length(job, Some(total).filter(|total| *total != "*"))
            }
            _ => Err(HubError::Answer {
                url: redact::url(response.url()),
                reason: format!("it gives another range than the one from {start}"),
            }),
        }
    }

    fn check_length(&self, job: &Job<'_>, length: Option<&str>) -> Result<(), HubError> {
        match length.and_then(|length| length.parse().ok()) {
            Some(found) if found != job.file.size => Err(HubError::Length {
                repository: self.snapshot.repository.clone(),
                path: job.file.path.clone(),
                expected: job.file.size,
                found,
            }),
            _ => Ok(()),
        }
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job<'_> {
    fn location(&self) -> MutexGuard<'_, Option<Url>> {
        self.location.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a refusal may be that of a signature that is too old.
fn is_expiry(error: &HubError) -> bool {
    matches!(error, HubError::Status { status, .. } if matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410))
}

fn ranged(request: Request, rest: &std::ops::Range<u64>) -> Request {
    request.header(header::RANGE, &format!("bytes={}-{}", rest.start, rest.end - 1))
}
