//! The requests of the storage library, made by the one HTTP client.

use futures_util::stream::poll_fn;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use url::Url;

use crate::http::{Body, Client, HttpError, Method, Request, Response, header};

/// Pieces of an answer that may wait to be read.
const PIECES_WAITING: usize = 4;

/// Makes requests; those to Dropbox can be led elsewhere.
pub(super) struct Fetch {
    pub(super) client: Client,
    /// Stands for `https://*.dropboxapi.com`.
    pub(super) dropbox: Option<Url>,
}

impl HttpTransport for Fetch {
    async fn fetch(&self, request: ::http::Request<Buffer>) -> opendal::Result<::http::Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse::<Url>().map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, "the address is not a URL").set_source(error)
        })?;
        let mut headers = parts.headers;
        // The client counts for itself.
        headers.remove(header::CONTENT_LENGTH);
        let body = if body.is_empty() { Body::Empty } else { Body::Bytes(body.to_bytes()) };
        let is_head = parts.method == Method::HEAD;
        let request = Request { method: parts.method, url: self.rerouted(url), headers, body };
        let response = self.client.send(request).await.map_err(failed)?;
        let mut built = ::http::Response::builder().status(response.status());
        if let Some(headers) = built.headers_mut() {
            headers.clone_from(response.headers());
        }
        let length = response.header(header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        let body = HttpBody::new(pieces(response), length.filter(|_| !is_head));
        built
            .body(body)
            .map_err(|error| Error::new(ErrorKind::Unexpected, "the answer cannot be read").set_source(error))
    }
}

impl Fetch {
    fn rerouted(&self, mut url: Url) -> Url {
        let is_dropbox = url.host_str().is_some_and(|host| host.ends_with(".dropboxapi.com"));
        if let Some(instead) = self.dropbox.as_ref().filter(|_| is_dropbox) {
            let path = url.path().to_owned();
            url.clone_from(instead);
            url.set_path(&path);
        }
        url
    }
}

/// The content of an answer, read by a task of its own: the library moves it between threads.
fn pieces(
    mut response: Response,
) -> impl futures_util::Stream<Item = opendal::Result<Buffer>> + Send + Sync + Unpin + 'static {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(PIECES_WAITING);
    tokio::spawn(async move {
        loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => Ok(Buffer::from(piece)),
                Ok(None) => return,
                Err(error) => Err(failed(error)),
            };
            let is_last = piece.is_err();
            if sender.send(piece).await.is_err() || is_last {
                return;
            }
        }
    });
    poll_fn(move |context| receiver.poll_recv(context))
}

fn failed(error: HttpError) -> Error {
    let is_transient = error.is_transient();
    let failed = Error::new(ErrorKind::Unexpected, error.to_string()).set_source(error);
    if is_transient { failed.set_temporary() } else { failed }
}
