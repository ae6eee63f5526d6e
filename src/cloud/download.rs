//! Downloads that go on where they broke off: after a cut connection, and after a killed process.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, ItemPath};
use super::error::CloudError;
use super::journal;
use super::objects::{RemoteItem, Strategy};
use super::retry::repeat;
use crate::fs::FsError;
use crate::http::{Method, Request, Response, StatusCode, Url, header};
use crate::oci::digest::Digest;
use crate::oci::json::canonical;
use crate::report::{Progress, Report};

/// The contents of an item, on their way here.
pub struct Download<'a> {
    /// The server.
    pub client: &'a Client,
    /// The item.
    pub item: &'a ItemPath,
    /// What the user reads while it lasts.
    pub label: String,
    /// Is told how far it is.
    pub report: Arc<dyn Report>,
}

/// Contents that arrived. Nobody else downloads the same while this lives.
#[derive(Debug)]
pub struct Fetched {
    path: PathBuf,
    notes: PathBuf,
    _lock: File,
}

/// What is known about contents of which a part is here.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
struct Notes {
    /// What tells whether the contents are still the same.
    validator: String,
    /// Bytes in all.
    total: Option<u64>,
}

/// The part that is here.
struct Partial {
    file: File,
    path: PathBuf,
    notes_path: PathBuf,
    notes: Notes,
    arrived: u64,
    progress: Option<Box<dyn Progress>>,
}

impl Fetched {
    /// The file with the contents.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file: its contents are in their place, or of no use.
    pub fn discard(self) {
        // What stays is taken up, or overwritten, by the next download of the same.
        let _ = fs::remove_file(&self.notes);
        let _ = fs::remove_file(&self.path);
    }
}

impl Download<'_> {
    /// Gets the contents into a file.
    pub async fn run(&self, remote: &RemoteItem) -> Result<Fetched, CloudError> {
        let name = self.name();
        let scratch = &self.client.settings().scratch;
        // Two processes that want the same contents wait for each other.
        let lock = journal::lock(scratch, &name).await?;
        let place = |suffix: &str| scratch.join(format!("{name}{suffix}"));
        let mut partial = Partial::open(place(".part"), place(".json"))?;
        let strategy = self.strategy(remote).await?;
        repeat(&self.client.settings().backoff, async || self.attempt(strategy, &mut partial).await).await?;
        Ok(Fetched { path: partial.path, notes: partial.notes_path, _lock: lock })
    }

    /// What the part, what is known about it, and its lock are called: after the item, not after URLs that change.
    fn name(&self) -> String {
        let item = self.item;
        let identity = json!({
            "endpoint": self.client.endpoint(), "kind": item.kind.directory(), "name": item.name,
            "version": item.version,
        });
        format!("{}{}", journal::DOWNLOAD, Digest::of(&canonical(&identity)).hex())
    }

    /// The server says it, or shows it by giving a URL or none.
    async fn strategy(&self, remote: &RemoteItem) -> Result<Strategy, CloudError> {
        if let Some(strategy) = remote.strategy() {
            return Ok(strategy);
        }
        let presigned = self.client.act(self.item, "presign_download_url", None).await?;
        Ok(if presigned.presigned_download_url.is_empty() { Strategy::Proxy } else { Strategy::Presigned })
    }

    /// Goes on until nothing more arrives: a connection that breaks after it brought something is no failure to count.
    async fn attempt(&self, strategy: Strategy, partial: &mut Partial) -> Result<(), CloudError> {
        loop {
            let before = partial.arrived;
            match self.fetch(strategy, partial).await {
                Err(error) if error.is_transient() && partial.arrived > before && partial.can_go_on() => {}
                result => return result,
            }
        }
    }

    async fn fetch(&self, strategy: Strategy, partial: &mut Partial) -> Result<(), CloudError> {
        let request = self.request(strategy).await?;
        let response = self.client.exchange(partial.ask_for_rest(request)).await?;
        let status = response.status();
        match status {
            StatusCode::OK => partial.restart(&response)?,
            StatusCode::PARTIAL_CONTENT if partial.continues(&response) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                // It lost what it had: the next attempt asks for everything.
                let promised = partial.notes.total.unwrap_or_default();
                let arrived = partial.forget()?;
                return Err(CloudError::Short { arrived, promised });
            }
            _ if strategy == Strategy::Proxy => return Err(self.client.refusal(response).await),
            _ => return Err(CloudError::Storage { status, message: self.client.message(response).await }),
        }
        self.receive(response, partial).await
    }

    async fn request(&self, strategy: Strategy) -> Result<Request, CloudError> {
        if strategy == Strategy::Proxy {
            return self.client.request(Method::GET, &self.item.action("download"));
        }
        // A fresh URL for each request: they expire.
        let item = self.client.act(self.item, "presign_download_url", None).await?;
        let url = item.presigned_download_url.parse::<Url>();
        Ok(Request::new(Method::GET, url.map_err(|_| self.client.unexpected("a signed URL"))?))
    }

    async fn receive(&self, mut response: Response, partial: &mut Partial) -> Result<(), CloudError> {
        if partial.progress.is_none() {
            let progress = self.report.task(&self.label, partial.notes.total);
            progress.advance(partial.arrived);
            partial.progress = Some(progress);
        }
        let endpoint = crate::http::origin(response.url());
        let exchange = |source| CloudError::Exchange { endpoint: endpoint.clone(), source };
        while let Some(bytes) = response.chunk().await.map_err(exchange)? {
            partial.write(&bytes)?;
        }
        match partial.notes.total {
            Some(promised) if promised != partial.arrived => {
                Err(CloudError::Short { arrived: partial.arrived, promised })
            }
            _ => Ok(()),
        }
    }
}

impl Partial {
    fn open(path: PathBuf, notes_path: PathBuf) -> Result<Self, CloudError> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(FsError::of("open", &path))?;
        let notes = fs::read(&notes_path).ok().and_then(|bytes| serde_json::from_slice::<Notes>(&bytes).ok());
        let mut partial =
            Self { file, path, notes_path, notes: Notes::default(), arrived: 0, progress: None };
        let length = partial.file.metadata().map_err(FsError::of("read", &partial.path))?.len();
        match notes.filter(|notes| !notes.validator.is_empty()) {
            Some(notes) => {
                // The last byte is asked for again, so that the server says whether the others are still right.
                let last = notes.total.map_or(length, |total| total.saturating_sub(1).min(length));
                partial.notes = notes;
                partial.cut(last)?;
            }
            None => partial.cut(0)?,
        }
        Ok(partial)
    }

    /// Whether the rest alone can be asked for.
    fn can_go_on(&self) -> bool {
        !self.notes.validator.is_empty()
    }

    fn ask_for_rest(&self, request: Request) -> Request {
        if self.arrived == 0 || !self.can_go_on() {
            return request;
        }
        request
            .header(header::RANGE, &format!("bytes={}-", self.arrived))
            .header(header::IF_RANGE, &self.notes.validator)
    }

    /// Everything comes, from the beginning.
    fn restart(&mut self, response: &Response) -> Result<(), CloudError> {
        self.cut(0)?;
        let total = response.header(header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        self.notes = Notes { validator: validator(response), total };
        journal::write(&self.notes_path, &canonical(&self.notes))
    }

    /// Whether the answer begins where the part ends: `Content-Range: bytes START-END/TOTAL`.
    fn continues(&self, response: &Response) -> bool {
        let range = response.header(header::CONTENT_RANGE.as_str()).unwrap_or_default();
        let start = range.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
        start.is_some_and(|(start, _)| start.trim().parse() == Ok(self.arrived))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CloudError> {
        self.file.write_all(bytes).map_err(FsError::of("write", &self.path))?;
        self.arrived += bytes.len() as u64;
        if let Some(progress) = &self.progress {
            progress.advance(bytes.len() as u64);
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<u64, CloudError> {
        let arrived = self.arrived;
        self.notes = Notes::default();
        self.cut(0)?;
        Ok(arrived)
    }

    fn cut(&mut self, length: u64) -> Result<(), CloudError> {
        let cut = self.file.set_len(length).and_then(|()| self.file.seek(SeekFrom::Start(length)));
        cut.map_err(FsError::of("write", &self.path))?;
        self.arrived = length;
        Ok(())
    }
}

/// What tells whether contents are still the same: a strong entity tag (RFC 9110, 13.1.5). Weak ones do not tell.
fn validator(response: &Response) -> String {
    let tag = response.header(header::ETAG.as_str()).filter(|tag| !tag.starts_with("W/"));
    tag.unwrap_or_default().to_owned()
}
