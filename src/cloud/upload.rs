//! Uploads: through the server, to one signed URL, or in parts to many.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::client::{Client, ItemPath};
use super::error::CloudError;
use super::http_body::Piece;
use super::journal::{Journal, Place};
use super::objects::{RemoteItem, Strategy};
use super::retry::repeat;
use super::tarball::Tarball;
use crate::http::{Method, Request, Response, StatusCode, Url, header};
use crate::report::Progress;

/// Most parts of one upload (Amazon S3 User Guide, "Multipart upload limits"); larger items get larger parts.
const MAX_PARTS: u64 = 10_000;
/// Where a storage says what it took for a part.
const ETAG: &str = "etag";

/// The contents of an item, on their way to a server.
pub struct Upload<'a> {
    /// The server.
    pub client: &'a Client,
    /// The item, which is registered there.
    pub item: &'a ItemPath,
    /// The contents.
    pub tarball: &'a Tarball,
    /// Most parts that travel at the same time.
    pub threads: usize,
    /// Is told how far it is.
    pub progress: Arc<dyn Progress>,
}

/// The way that contents went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through the server.
    Proxy,
    /// To one signed URL.
    Single,
    /// In parts.
    Parts,
}

impl Upload<'_> {
    /// Sends the contents by the way that the server wants, and tells it how that went.
    pub async fn run(&self, remote: &RemoteItem) -> Result<Route, CloudError> {
        let mut presigned = String::new();
        let route = match remote.strategy() {
            Some(Strategy::Proxy) => Route::Proxy,
            Some(Strategy::Presigned) => Route::Parts,
            None => {
                presigned = self.act("presign_upload_url").await?.presigned_upload_url;
                if presigned.is_empty() { Route::Proxy } else { Route::Single }
            }
        };
        if !remote.is_uploading() {
            self.act("start_upload").await?;
        }
        let sent = match route {
            // The server sees for itself how that ends.
            Route::Proxy => return self.proxy().await.map(|()| route),
            Route::Single => self.single(presigned).await,
            Route::Parts => self.parts(&remote.upload_id).await,
        };
        self.finish(sent).await.map(|()| route)
    }

    async fn proxy(&self) -> Result<(), CloudError> {
        let path = self.item.action("upload");
        let piece = self.piece(0, self.tarball.size());
        repeat(&self.client.settings().backoff, async || {
            let request = self.client.request(Method::PUT, &path)?;
            let response = self.put(request, &piece).await?;
            match response.status() {
                StatusCode::OK => {
                    piece.is_done();
                    Ok(())
                }
                _ => Err(self.client.refusal(response).await),
            }
        })
        .await
    }

    async fn single(&self, presigned: String) -> Result<(), CloudError> {
        let piece = self.piece(0, self.tarball.size());
        let mut fresh = Some(presigned);
        repeat(&self.client.settings().backoff, async || {
            let url = match fresh.take() {
                Some(url) => url,
                None => self.act("presign_upload_url").await?.presigned_upload_url,
            };
            self.put_to_storage(&url, &piece).await.map(drop)
        })
        .await
    }

    /// Continues what an earlier run began, if the server still knows of it; begins anew otherwise.
    async fn parts(&self, known_to_server: &str) -> Result<(), CloudError> {
        let place = Place::open(self.client, self.item, self.tarball).await?;
        let is_known = |journal: &Journal| known_to_server.is_empty() || known_to_server == journal.upload_id;
        if let Some(journal) = place.load().filter(is_known) {
            match self.send_parts(&place, journal).await {
                Err(error) if error.is_unknown() => place.forget(),
                sent => return sent,
            }
        }
        let upload_id = self.act("start_multipart_upload").await?.upload_id;
        if upload_id.is_empty() {
            return Err(self.client.unexpected("the name of an upload"));
        }
        let least = self.tarball.size().div_ceil(MAX_PARTS);
        let part_size = self.client.settings().part_size.max(least);
        let journal = Journal { upload_id, part_size, parts: [].into() };
        place.save(&journal)?;
        self.send_parts(&place, journal).await
    }

    async fn send_parts(&self, place: &Place, journal: Journal) -> Result<(), CloudError> {
        let size = self.tarball.size();
        let count = size.div_ceil(journal.part_size);
        let numbers = 1..=u32::try_from(count).map_err(|_| self.client.unexpected("so many parts"))?;
        let range = |number: u32| {
            let start = u64::from(number - 1) * journal.part_size;
            (start, size.min(start + journal.part_size))
        };
        for (start, end) in journal.parts.keys().map(|number| range(*number)) {
            self.piece(start, end).is_done();
        }
        let upload_id = journal.upload_id.clone();
        let missing: Vec<u32> = numbers.filter(|number| !journal.parts.contains_key(number)).collect();
        let done = Mutex::new(journal.clone());
        let send = |number: u32| {
            let (start, end) = range(number);
            let (upload_id, done) = (&upload_id, &done);
            async move {
                let etag = self.send_part(upload_id, number, self.piece(start, end)).await?;
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.parts.insert(number, etag);
                place.save(&done)
            }
        };
        let sending = futures_util::stream::iter(missing).map(send).buffer_unordered(self.threads.max(1));
        sending.try_collect::<()>().await?;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let parts = done.parts.iter().map(|(number, etag)| json!({"part_number": number, "etag": etag}));
        let body = json!({"parts": parts.collect::<Vec<_>>(), "upload_id": upload_id});
        self.client.act(self.item, "complete_multipart_upload", Some(&body)).await?;
        place.forget();
        Ok(())
    }

    async fn send_part(&self, upload_id: &str, number: u32, piece: Piece) -> Result<String, CloudError> {
        let body = json!({"upload_id": upload_id, "part_number": number});
        repeat(&self.client.settings().backoff, async || {
            let item = self.client.act(self.item, "presign_multipart_upload_url", Some(&body)).await?;
            let response = self.put_to_storage(&item.presigned_upload_url, &piece).await?;
            let etag = response.header(ETAG).map(str::to_owned);
            etag.ok_or_else(|| self.client.unexpected("the tag of a part"))
        })
        .await
    }

    /// Sends a piece to a signed URL, which needs no token and must get none.
    async fn put_to_storage(&self, url: &str, piece: &Piece) -> Result<Response, CloudError> {
        let url: Url = url.parse().map_err(|_| self.client.unexpected("a signed URL"))?;
        let response = self.put(Request::new(Method::PUT, url), piece).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(CloudError::Storage { status, message: self.client.message(response).await });
        }
        piece.is_done();
        Ok(response)
    }

    async fn put(&self, request: Request, piece: &Piece) -> Result<Response, CloudError> {
        let request = request.header(header::CONTENT_TYPE, "application/octet-stream").body(piece.body());
        self.client.exchange(request).await.map_err(|error| piece.blame(error))
    }

    /// Tells the server how the upload ended.
    async fn finish(&self, sent: Result<(), CloudError>) -> Result<(), CloudError> {
        let body = match &sent {
            Ok(()) => json!({"status": "success", "reason": ""}),
            Err(error) => json!({"status": "failed", "reason": reason(error)}),
        };
        let finished = self.client.act(self.item, "finish_upload", Some(&body)).await;
        sent.and(finished.map(drop))
    }

    async fn act(&self, action: &str) -> Result<RemoteItem, CloudError> {
        self.client.act(self.item, action, None).await
    }

    fn piece(&self, start: u64, end: u64) -> Piece {
        Piece::new(&self.tarball.blob, start, end, &self.progress)
    }
}

/// An error and its causes, in one line.
fn reason(error: &CloudError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        write!(text, ": {next}").expect("writing to a string never fails");
        cause = next.source();
    }
    text
}
