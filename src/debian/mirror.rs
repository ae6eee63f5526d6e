//! A mirror spoken to over HTTP, for machines without apt: signatures and digests are verified here.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::archive::{
    ARCHIVE_KEYRING, Archive, DEFAULT_MIRROR, DEFAULT_SECURITY_MIRROR, Watch, archives, check_suite,
};
use super::error::Error;
use super::index;
use super::lock::LockedPackage;
use super::openpgp;
use super::release::{self, Release};
use super::request::Architecture;
use crate::http::header::RANGE;
use crate::http::{self, HttpError, Method, Response, StatusCode};
use crate::oci::digest::Digest;
use crate::process::without_credentials;
use crate::report::{Interrupt, Progress};

/// Most bytes of a release file; those of Debian have 150 kB.
const RELEASE_LIMIT: u64 = 8 << 20;
/// Most bytes of a package list, unpacked; the largest of Debian has 60 MB.
const LIST_LIMIT: u64 = 512 << 20;
/// Packages fetched at a time: enough to hide the latency of a mirror, few enough to be polite.
const CONNECTIONS: usize = 6;
/// Attempts at anything that fails for reasons that may pass.
const ATTEMPTS: u32 = 4;
/// Wait before the second attempt; each further wait is four times as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How often a wait looks whether the user asked to stop.
const POLL: Duration = Duration::from_millis(50);
/// The forms of package lists, best first.
const FORMS: [Form; 3] = [Form::Xz, Form::Gzip, Form::Plain];

/// A mirror of Debian.
///
/// Its methods wait: they must not be called by a task of the runtime whose handle it has.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The HTTP client, with the user's proxies and certificates.
    pub client: http::Client,
    /// The runtime that drives it.
    pub runtime: tokio::runtime::Handle,
    /// Where and how.
    pub settings: MirrorSettings,
}

/// Where packages come from, and whom to trust.
#[derive(Clone, Debug)]
pub struct MirrorSettings {
    /// URL of the archive.
    pub archive: String,
    /// URL of the archive of security fixes.
    pub security: String,
    /// The keys that sign release files, binary or armored.
    pub keyring: Vec<u8>,
    /// The time, in seconds since the epoch, by which signatures and releases are judged.
    pub now: u64,
    /// Whether releases expire.
    pub expiry: Expiry,
}

/// Whether a release that is past its date is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is.
    Refuse,
    /// It is not: for mirrors of the past, such as snapshot.debian.org.
    Accept,
}

#[derive(Clone, Copy)]
enum Form {
    Xz,
    Gzip,
    Plain,
}

impl MirrorSettings {
    /// Debian's own mirrors and keys.
    pub fn debian(now: u64) -> Self {
        Self {
            archive: DEFAULT_MIRROR.to_owned(),
            security: DEFAULT_SECURITY_MIRROR.to_owned(),
            keyring: ARCHIVE_KEYRING.to_vec(),
            now,
            expiry: Expiry::Refuse,
        }
    }

    fn base(&self, archive: &str) -> &str {
        let base = if archive.ends_with("-security") { &self.security } else { &self.archive };
        base.trim_end_matches('/')
    }
}

impl Archive for Mirror {
    fn identity(&self, suite: &str) -> Result<String, Error> {
        check_suite(suite)?;
        let MirrorSettings { archive, security, keyring, .. } = &self.settings;
        Ok(format!("mirror\n{archive}\n{security}\n{}", Digest::of(keyring)))
    }

    fn update(&self, suite: &str, architecture: Architecture, watch: Watch<'_>) -> Result<String, Error> {
        check_suite(suite)?;
        let _task = watch.report.task(&format!("package lists of {suite}"), None);
        let mut kept = String::new();
        for archive in archives(suite) {
            watch.interrupt.check()?;
            let is_optional = archive != suite;
            let release = match self.release(&archive, watch.interrupt) {
                Err(Error::Status { status: 404, .. }) if is_optional => continue,
                Err(Error::Status { status: 404, .. }) => {
                    let mirror = without_credentials(self.settings.base(suite));
                    return Err(Error::UnknownSuite { suite: suite.to_owned(), mirror });
                }
                release => release?,
            };
            let list = self.list(&archive, &release, architecture, watch.interrupt)?;
            index::keep(&archive, &list, &mut kept);
        }
        Ok(kept)
    }

    fn download(
        &self,
        suite: &str,
        packages: &[&LockedPackage],
        directory: &Path,
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let total = packages.iter().map(|package| package.size).sum();
        let task = watch.report.task(&format!("{} packages of {suite}", packages.len()), Some(total));
        let progress: &dyn Progress = &*task;
        let each = stream::iter(packages).map(|package| async move {
            let url = package.url(self.settings.base(&package.archive));
            let path = directory.join(package.cache_name());
            self.save(&url, &path, package.size, progress, watch.interrupt).await.map_err(|error| match error
            {
                Error::Status { status: 404 | 410, .. } => Error::Gone {
                    mirror: without_credentials(self.settings.base(&package.archive)),
                    packages: vec![(package.name.clone(), package.version.clone())],
                },
                error => error,
            })
        });
        self.runtime.block_on(each.buffer_unordered(CONNECTIONS).try_collect())
    }
}

impl Mirror {
    /// The release file of an archive, verified.
    fn release(&self, archive: &str, interrupt: &Interrupt) -> Result<Release, Error> {
        let url = format!("{}/dists/{archive}/InRelease", self.settings.base(archive));
        let subject = without_credentials(&url);
        let document = self.runtime.block_on(self.get(&url, RELEASE_LIMIT, interrupt))?;
        let text = openpgp::verify(&document, &self.settings.keyring, self.settings.now)
            .map_err(|source| Error::Signature { subject: subject.clone(), source })?;
        let release = Release::parse(&text, &subject)?;
        release.check_name(archive)?;
        if self.settings.expiry == Expiry::Refuse {
            release.check_date(self.settings.now)?;
        }
        Ok(release)
    }

    /// The package list of an archive, verified. Releases name forms of it that not every mirror has.
    fn list(
        &self,
        archive: &str,
        release: &Release,
        architecture: Architecture,
        interrupt: &Interrupt,
    ) -> Result<String, Error> {
        let base = format!("{}/dists/{archive}", self.settings.base(archive));
        let directory = format!("main/binary-{}", architecture.name());
        let mut refusal = None;
        for form in FORMS {
            let path = format!("{directory}/Packages{}", form.extension());
            let Some(file) = release.file(&path) else { continue };
            let by_digest = format!("{directory}/by-hash/SHA256/{}", file.digest.hex());
            let path = if release.has_digest_names { by_digest } else { path };
            let url = format!("{base}/{path}");
            match self.runtime.block_on(self.get(&url, file.size, interrupt)) {
                Err(error @ Error::Status { status: 404, .. }) => refusal = Some(error),
                bytes => return form.verified(&bytes?, file, &url),
            }
        }
        let subject = without_credentials(&base);
        Err(refusal.unwrap_or(Error::Document { subject, what: "list of packages for this architecture" }))
    }

    /// Gets a document of at most `limit` bytes; what is beyond is not read.
    async fn get(&self, url: &str, limit: u64, interrupt: &Interrupt) -> Result<Bytes, Error> {
        let attempt = async || {
            let mut response = self.ask(url, 0, interrupt).await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = unless_interrupted(url, interrupt, response.chunk()).await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() as u64 > limit {
                    break;
                }
            }
            Ok(bytes.into())
        };
        retry(interrupt, attempt).await
    }

    /// Gets a file of `size` bytes; a further attempt goes on where the last one broke off.
    async fn save(
        &self,
        url: &str,
        path: &Path,
        size: u64,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let mut file = File::create(path).map_err(Error::file("write", path))?;
        let mut done = 0;
        retry(interrupt, async || {
            let mut response = self.ask(url, done, interrupt).await?;
            if done > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
                file = File::create(path).map_err(Error::file("write", path))?;
                done = 0;
            }
            while let Some(chunk) = unless_interrupted(url, interrupt, response.chunk()).await? {
                file.write_all(&chunk).map_err(Error::file("write", path))?;
                done += chunk.len() as u64;
                progress.advance(chunk.len() as u64);
                // More than was promised cannot be the package: its digest will say so.
                if done > size {
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    async fn ask(&self, url: &str, from: u64, interrupt: &Interrupt) -> Result<Response, Error> {
        let shown = without_credentials(url);
        let parsed = url.parse().map_err(|_| Error::Document { subject: shown.clone(), what: "URL" })?;
        let mut request = http::Request::new(Method::GET, parsed);
        if from > 0 {
            request = request.header(RANGE, &format!("bytes={from}-"));
        }
        let response = unless_interrupted(url, interrupt, self.client.send(request)).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Error::Status { url: shown, status: response.status().as_u16() })
    }
}

/// Waits for an answer, but not when the user asks to stop.
async fn unless_interrupted<T>(
    url: &str,
    interrupt: &Interrupt,
    answer: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, Error> {
    tokio::select! {
        answer = answer => answer.map_err(|error| {
            Error::Unreachable { url: without_credentials(url), source: Box::new(error) }
        }),
        interrupted = interruption(interrupt) => Err(interrupted),
    }
}

impl Form {
    fn extension(self) -> &'static str {
        match self {
            Self::Xz => ".xz",
            Self::Gzip => ".gz",
            Self::Plain => "",
        }
    }

    /// The text of a list, if its bytes are those that the release names.
    fn verified(self, bytes: &[u8], file: release::File, url: &str) -> Result<String, Error> {
        let actual = Digest::of(bytes);
        let subject = without_credentials(url);
        if actual != file.digest {
            return Err(Error::IndexMismatch { subject, stated: file.digest, actual });
        }
        self.unpack(bytes).ok_or(Error::Document { subject, what: "compressed text" })
    }

    fn unpack(self, bytes: &[u8]) -> Option<String> {
        let reader: Box<dyn Read + '_> = match self {
            Self::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes)),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Self::Plain => Box::new(bytes),
        };
        let mut text = Vec::new();
        let count = reader.take(LIST_LIMIT).read_to_end(&mut text).ok()?;
        ((count as u64) < LIST_LIMIT).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

/// Tries again, after ever longer waits, as long as what fails may pass.
async fn retry<T>(
    interrupt: &Interrupt,
    mut attempt: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if error.is_transient() => {}
            result => return result,
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait *= 4,
            interrupted = interruption(interrupt) => return Err(interrupted),
        }
    }
    attempt().await
}

/// Ends when the user asks to stop.
async fn interruption(interrupt: &Interrupt) -> Error {
    loop {
        if let Err(interrupted) = interrupt.check() {
            return interrupted.into();
        }
        tokio::time::sleep(POLL).await;
    }
}
