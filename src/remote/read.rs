//! Reading a place on another machine from front to back.

use std::io::{self, Read};
use std::pin::Pin;

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _};

use super::error::RemoteError;
use super::location::{Location, Scheme};
use super::{Remotes, credentials};
use crate::http::{Method, Request, Response, StatusCode, header};

/// Ranges that are fetched at once, and their size: what object stores give to one connection is limited.
const RANGES: usize = 4;
const RANGE: usize = 8 << 20;

/// The bytes of a place. Reading blocks; the wish to stop ends it.
pub struct RemoteReader {
    remotes: Remotes,
    url: String,
    source: Source,
    current: Bytes,
    /// How many there are, if that is known.
    pub size: Option<u64>,
}

enum Source {
    Service(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
    Web(Box<Response>),
}

impl Remotes {
    /// Opens a place for reading.
    pub fn read(&self, location: &Location) -> Result<RemoteReader, RemoteError> {
        let url = location.to_string();
        let reader = |source, size| RemoteReader {
            remotes: self.clone(),
            url: url.clone(),
            source,
            current: Bytes::new(),
            size,
        };
        if matches!(location.scheme, Scheme::Http | Scheme::Https) {
            let response = self.get(location)?;
            let length = response.header(header::CONTENT_LENGTH.as_str());
            let size = length.and_then(|length| length.parse().ok());
            return Ok(reader(Source::Web(Box::new(response)), size));
        }
        let operator = self.operator(location)?;
        let path = location.path();
        let failed = |error| RemoteError::of_service(url.clone(), "read", &error);
        let is_ranged = !matches!(location.scheme, Scheme::Ftp | Scheme::Ftps);
        let (stream, size) = self.wait(async {
            let size = operator.stat(path).await.map_err(failed)?.content_length();
            let opened = operator.reader_with(path);
            let opened = if is_ranged { opened.concurrent(RANGES).chunk(RANGE) } else { opened };
            let stream = opened.await.map_err(failed)?.into_bytes_stream(..size).await.map_err(failed)?;
            Ok((stream, size))
        })?;
        Ok(reader(Source::Service(Box::pin(stream)), Some(size)))
    }

    fn get(&self, location: &Location) -> Result<Response, RemoteError> {
        let request = self.web_request(Method::GET, location)?;
        let client = self.client()?;
        let response = self.wait(async { Ok(client.send(request).await?) })?;
        let url = location.to_string();
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(RemoteError::NotFound { url }),
            status => Err(RemoteError::Status { url, action: "read", status: status.as_u16() }),
        }
    }

    /// A request with the user and password of the URL or the netrc file.
    pub(super) fn web_request(&self, method: Method, location: &Location) -> Result<Request, RemoteError> {
        use base64::Engine as _;
        let url = location.web_url().ok_or_else(|| location.malformed("is not a URL"))?;
        let request = Request::new(method, url);
        Ok(match credentials::of_host(location, &self.environment)? {
            Some((user, password)) => {
                let plain = format!("{user}:{}", password.expose());
                let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
                request.header(header::AUTHORIZATION, &format!("Basic {encoded}"))
            }
            None => request,
        })
    }
}

impl RemoteReader {
    async fn next(source: &mut Source, url: &str) -> Result<Option<Bytes>, RemoteError> {
        match source {
            Source::Web(response) => Ok(response.chunk().await?),
            Source::Service(stream) => stream.next().await.transpose().map_err(|error| {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<opendal::Error>());
                match inner {
                    Some(inner) => RemoteError::of_service(url.to_owned(), "read", inner),
                    None => RemoteError::Service {
                        url: url.to_owned(),
                        action: "read",
                        detail: crate::redact::text(&error.to_string()),
                    },
                }
            }),
        }
    }
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let Self { remotes, url, source, .. } = self;
            match remotes.wait(Self::next(source, url)).map_err(RemoteError::into_io)? {
                Some(bytes) => self.current = bytes,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
