//! The hub's protocol: what a revision means, and what a commit has.
//!
//! As `huggingface_hub` 2.4 speaks it: `GET /api/models/{id}/revision/{revision}`, and
//! `GET /api/models/{id}/tree/{commit}?recursive=true` in pages.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cache::{HubCache, ListedFile};
use super::error::{HubError, Refusal};
use super::repository::{Commit, Repository, RepositoryId};
use super::settings::HubSettings;
use super::snapshot::{ContentId, HubFile, Snapshot, Wanted, checked};
use crate::http::{self, Method, Request, Response, StatusCode, Url, header};
use crate::redact::{self, MASK, Secret};
use crate::report::Activity;

/// Most of an answer that is read: a page of a listing has a thousand files.
const MAX_ANSWER: u64 = 64 << 20;
/// Most of an error's text that is read.
const MAX_ERROR: u64 = 64 << 10;
/// Longest text of an error that is shown.
const MAX_MESSAGE: usize = 500;
/// Most files of a repository: the hub itself advises to stay below a tenth of that.
const MAX_FILES: usize = 1_000_000;
/// Longest time that a server may ask to be left alone.
const MAX_PAUSE: Duration = Duration::from_mins(2);
/// What stays as it is in a segment of a URL (RFC 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The hubs that a user has access to, and the cache of what they gave.
#[derive(Clone)]
pub struct Hub {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) http: http::Client,
    pub(super) settings: HubSettings,
    pub(super) cache: HubCache,
    pub(super) activity: Activity,
}

/// What a hub says of a revision.
#[derive(Deserialize)]
struct RevisionAnswer {
    id: Option<String>,
    sha: String,
}

/// An entry of a listing.
#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

/// What stands for a large file.
#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// Access through that client, with those settings.
    pub fn new(http: http::Client, settings: HubSettings, activity: Activity) -> Self {
        let cache = HubCache::new(settings.cache.clone());
        Self { inner: Arc::new(Inner { http, settings, cache, activity }) }
    }

    /// How hubs are spoken to.
    pub fn settings(&self) -> &HubSettings {
        &self.inner.settings
    }

    /// What is here.
    pub fn cache(&self) -> &HubCache {
        &self.inner.cache
    }

    /// Finds the commit that a revision means today, and how the hub writes the repository's name. Asks nothing where a
    /// commit of a known repository is asked for, or nothing may be asked.
    pub async fn pin(&self, wanted: &Wanted) -> Result<(Repository, Commit), HubError> {
        let (repository, revision) = (&wanted.repository, &wanted.revision);
        let cache = &self.inner.cache;
        let commit = Commit::new(revision);
        let known = cache.spelling(&repository.id);
        let spelled = |id: RepositoryId| Repository { endpoint: repository.endpoint.clone(), id };
        if let (Some(commit), Some(id)) = (&commit, &known)
            && cache.tree(id, commit).is_some()
        {
            return Ok((spelled(id.clone()), commit.clone()));
        }
        if self.inner.settings.is_offline {
            let offline = || self.offline(repository, revision);
            let id = known.ok_or_else(offline)?;
            let commit = commit.or_else(|| cache.reference(&id, revision)).ok_or_else(offline)?;
            return Ok((spelled(id), commit));
        }
        if revision.is_empty() || revision.split('/').any(|part| matches!(part, "" | "." | "..")) {
            let (repository, revision) = (repository.clone(), revision.clone());
            return Err(HubError::RevisionName { repository, revision });
        }
        let path = format!("revision/{}", utf8_percent_encode(revision, SEGMENT));
        let url = api_url(repository, &path)?;
        let (answer, _): (RevisionAnswer, _) = self.json(repository, Some(revision), &url).await?;
        let bad = |reason: &str| HubError::Answer { url: redact::url(&url), reason: reason.to_owned() };
        let commit = Commit::new(&answer.sha).ok_or_else(|| bad("its `sha` is no commit"))?;
        let id = answer.id.map_or_else(|| Ok(repository.id.clone()), |id| id.parse());
        Ok((spelled(id.map_err(|_| bad("its `id` is no name of a repository"))?), commit))
    }

    /// Lists the wanted files of a commit, from the cache where they were listed before.
    pub async fn list(
        &self,
        repository: Repository,
        commit: Commit,
        wanted: &Wanted,
    ) -> Result<Snapshot, HubError> {
        let cache = &self.inner.cache;
        let files = match cache.tree(&repository.id, &commit) {
            Some(files) => files,
            None if self.inner.settings.is_offline => cache
                .walk(&repository.id, &commit)
                .ok_or_else(|| self.offline(&repository, commit.as_str()))?,
            None => {
                let listed = self.tree(&repository, &commit).await?;
                cache.write_tree(&repository.id, &commit, &listed)?;
                listed.into_iter().map(|listed| listed.file).collect()
            }
        };
        let mut files = checked(&repository, files)?;
        files.retain(|file| wanted.patterns.accept(&file.path));
        Ok(Snapshot { repository, commit, files })
    }

    /// Finds out everything about a wanted model without downloading it.
    pub async fn resolve(&self, wanted: &Wanted) -> Result<Snapshot, HubError> {
        let (repository, commit) = self.pin(wanted).await?;
        self.list(repository, commit, wanted).await
    }

    async fn tree(&self, repository: &Repository, commit: &Commit) -> Result<Vec<ListedFile>, HubError> {
        let mut url = api_url(repository, &format!("tree/{commit}?recursive=true&expand=false"))?;
        let mut files: Vec<ListedFile> = Vec::new();
        loop {
            let bad = |reason: String| HubError::Answer { url: redact::url(&url), reason };
            let (page, next): (Vec<TreeEntry>, _) =
                self.json(repository, Some(commit.as_str()), &url).await?;
            for entry in page.into_iter().filter(|entry| entry.kind == "file") {
                let path = entry.path.clone();
                let listed = listed(entry).ok_or_else(|| bad(format!("`{path}` has no digest")))?;
                files.push(listed);
            }
            if files.len() > MAX_FILES {
                return Err(bad(format!("it lists more than {MAX_FILES} files")));
            }
            let Some(next) = next else { break };
            let next = url.join(&next).map_err(|_| bad("its next page is no URL".to_owned()))?;
            if !http::is_same_origin(&url, &next) || next == url {
                return Err(bad("its next page leads elsewhere".to_owned()));
            }
            url = next;
        }
        checked(repository, files.iter().map(|listed| listed.file.clone()).collect())?;
        Ok(files)
    }

    fn offline(&self, repository: &Repository, revision: &str) -> HubError {
        HubError::Offline {
            repository: repository.clone(),
            revision: revision.to_owned(),
            cache: self.inner.cache.root().to_owned(),
        }
    }

    /// A request that bears the token where it is meant to go.
    pub(super) fn request(&self, repository: &Repository, url: &Url) -> Request {
        let request = Request::new(Method::GET, url.clone()).header(header::ACCEPT_ENCODING, "identity");
        let is_hub = repository.endpoint.parse().is_ok_and(|hub| http::is_same_origin(&hub, url));
        match &self.inner.settings.token {
            Some(token) if is_hub => {
                let bearer = Secret::new(format!("Bearer {}", token.expose()));
                request.secret_header(header::AUTHORIZATION, &bearer)
            }
            _ => request,
        }
    }

    /// An answer as JSON, and the next page; tried again while that may help.
    async fn json<T: DeserializeOwned>(
        &self,
        repository: &Repository,
        subject: Option<&str>,
        url: &Url,
    ) -> Result<(T, Option<String>), HubError> {
        let attempt = async || {
            let response = self.inner.http.send(self.request(repository, url)).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(repository, subject, response).await);
            }
            let next = response.header(header::LINK.as_str()).and_then(next_page);
            Ok((response.bytes(MAX_ANSWER).await?, next))
        };
        let mut failed = 0;
        let (bytes, next) = loop {
            match self.inner.activity.interrupt.guard(attempt()).await? {
                Ok(answer) => break answer,
                Err(error) => {
                    failed += 1;
                    self.pause(&error, failed).await.map_err(|()| error)?;
                }
            }
        };
        let value = serde_json::from_slice(&bytes);
        let value =
            value.map_err(|error| HubError::Answer { url: redact::url(url), reason: error.to_string() })?;
        Ok((value, next))
    }

    /// Waits before the next attempt after so many failures; an error where another attempt has no sense.
    pub(super) async fn pause(&self, error: &HubError, failed: u32) -> Result<(), ()> {
        let backoff = &self.inner.settings.backoff;
        if !error.is_transient() || failed >= backoff.attempts {
            return Err(());
        }
        let pause = match error {
            HubError::Status { retry_after: Some(seconds), .. } => Duration::from_secs(*seconds),
            _ => backoff.pause(failed),
        };
        if pause > MAX_PAUSE {
            return Err(());
        }
        let waiting = tokio::time::sleep(pause);
        self.inner.activity.interrupt.guard(waiting).await.map_err(|_| ())
    }

    /// What an answer with another status than the expected means.
    pub(super) async fn refusal(
        &self,
        repository: &Repository,
        subject: Option<&str>,
        response: Response,
    ) -> HubError {
        let status = response.status();
        let text = |name: &str| response.header(name).map(str::to_owned);
        let (code, said) = (text("x-error-code"), text("x-error-message"));
        let retry_after = text(header::RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok());
        let (origin, url) = (response.url().clone(), redact::url(response.url()));
        let body = response.bytes(MAX_ERROR).await.unwrap_or_default();
        let message = self.shown(&said.unwrap_or_else(|| message(&body)));
        // A store of contents knows nothing of repositories: what it refuses is a URL.
        let is_hub = repository.endpoint.parse().is_ok_and(|hub| http::is_same_origin(&hub, &origin));
        let refusal = match (code.as_deref(), status.as_u16()) {
            _ if !is_hub => None,
            (Some("GatedRepo"), _) => Some(Refusal::Gated),
            (Some("RevisionNotFound"), _) => Some(Refusal::NoRevision),
            (Some("EntryNotFound"), _) => Some(Refusal::NoFile),
            (Some("RepoNotFound"), _) => Some(Refusal::NoRepository),
            (_, 401) if message.contains("Invalid") => Some(Refusal::Token),
            (_, 403) if message.contains("disabled") => Some(Refusal::Disabled),
            (_, 401 | 404) => Some(Refusal::NoRepository),
            (_, 403) => Some(Refusal::Gated),
            _ => None,
        };
        match refusal {
            Some(refusal) => HubError::Refused {
                repository: repository.clone(),
                subject: subject.map(str::to_owned),
                refusal,
                message: if message.is_empty() { format!("status {status}") } else { message },
                with_token: self.inner.settings.token.is_some(),
            },
            None => HubError::Status { url, status, message, retry_after },
        }
    }

    /// A text of the server as it may be shown.
    fn shown(&self, text: &str) -> String {
        let token = self.inner.settings.token.as_ref().map(Secret::expose);
        let text = token.map_or_else(|| text.to_owned(), |token| text.replace(token, MASK));
        let plain: String = redact::text(&text).chars().filter(|letter| !letter.is_control()).collect();
        plain.chars().take(MAX_MESSAGE).collect()
    }
}

fn api_url(repository: &Repository, path: &str) -> Result<Url, HubError> {
    endpoint_url(repository, &format!("api/models/{}/{path}", repository.id))
}

/// The URL at which the hub itself has a file.
pub(super) fn file_url(snapshot: &Snapshot, path: &str) -> Result<Url, HubError> {
    let path: Vec<_> = path.split('/').map(|part| utf8_percent_encode(part, SEGMENT).to_string()).collect();
    let Snapshot { repository, commit, .. } = snapshot;
    endpoint_url(repository, &format!("{}/resolve/{commit}/{}", repository.id, path.join("/")))
}

fn endpoint_url(repository: &Repository, path: &str) -> Result<Url, HubError> {
    let url = format!("{}/{path}", repository.endpoint).parse::<Url>();
    let url = url.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| HubError::Endpoint { endpoint: redact::text(&repository.endpoint) })
}

fn listed(entry: TreeEntry) -> Option<ListedFile> {
    let (content, size) = match &entry.lfs {
        Some(Lfs { oid, size }) => (ContentId::new(oid.trim_start_matches("sha256:"))?, *size),
        None => (ContentId::new(&entry.oid)?, entry.size),
    };
    let file = HubFile { path: entry.path, size, content };
    Some(ListedFile { file, git_name: entry.oid, xet_hash: entry.xet_hash })
}

/// The URL in a `Link` header that is called `next` (RFC 8288).
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|part| {
        let (url, rest) = part.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| url.to_owned())
    })
}

/// What the body of an error says: JSON with `error` or `message`, or a short text.
fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let field = |json: &serde_json::Value| {
        json.get("error").or_else(|| json.get("message")).and_then(|text| text.as_str().map(str::to_owned))
    };
    match json {
        Some(json) => field(&json).unwrap_or_default(),
        None if text.trim_start().starts_with('<') => String::new(),
        None => text.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_one_called_next() {
        assert_eq!(
            next_page("<https://h/p?cursor=a>; rel=\"next\"").as_deref(),
            Some("https://h/p?cursor=a")
        );
        assert_eq!(next_page("</a>; rel=\"prev\", </b>; rel=\"next\"").as_deref(), Some("/b"));
        assert_eq!(next_page("</a>; rel=\"prev\""), None);
        assert_eq!(next_page("nonsense"), None);
    }

    #[test]
    fn the_text_of_an_error_is_found() {
        assert_eq!(message(b"{\"error\": \"no\"}"), "no");
        assert_eq!(message(b"plain \n"), "plain");
        assert_eq!(message(b"<html>long</html>"), "");
        assert_eq!(message(b"[1]"), "");
    }
}
