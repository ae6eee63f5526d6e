//! What a server answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::error::HttpError;
use super::{HeaderMap, Method, StatusCode, Url, header};
use crate::redact;

/// The answer to a request: its head, and its content as it arrives.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    method: Method,
    url: Url,
    stall_timeout: Duration,
}

impl Response {
    pub(super) fn new(inner: reqwest::Response, method: Method, url: Url, stall_timeout: Duration) -> Self {
        Self { inner, method, url, stall_timeout }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The method of the request.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Where the answer came from, redirects followed.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The value of a header, unless it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the content, or nothing at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        match tokio::time::timeout(self.stall_timeout, self.inner.chunk()).await {
            Ok(result) => result.map_err(|source| HttpError::of(&self.method, &self.url, source)),
            Err(_) => Err(HttpError::Timeout {
                method: self.method.clone(),
                url: redact::url(&self.url),
                seconds: self.stall_timeout.as_secs(),
            }),
        }
    }

    /// The whole content, which must not be larger than `limit`.
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes, HttpError> {
        let mut content = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            content.extend_from_slice(&chunk);
            if content.len() as u64 > limit {
                return Err(HttpError::TooLarge { method: self.method, url: redact::url(&self.url), limit });
            }
        }
        Ok(content.freeze())
    }

    /// The target of a redirect, as the server wrote it.
    pub(super) fn redirect(&self) -> Option<&str> {
        let is_redirect = matches!(self.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        self.header(header::LOCATION.as_str()).filter(|_| is_redirect)
    }
}
