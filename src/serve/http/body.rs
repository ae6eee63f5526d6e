//! Bodies: of requests as they are read, of answers as they are sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

use super::exchange::Exchange;
use crate::serve::payload::Payload;
use crate::serve::worker::pool::Hold;
use crate::serve::worker::stream::{Chunks, StreamError};

/// A request's body that was not read to its end.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is longer than allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The client stopped, or what it sent is not HTTP.
    #[error("cannot read the body")]
    Broken(#[source] hyper::Error),
}

/// Where a request's body is.
#[derive(Debug)]
pub enum Source {
    /// Still with the client.
    Wire(Incoming),
    /// Here.
    Read(Payload),
}

impl From<Incoming> for Source {
    fn from(body: Incoming) -> Self {
        Self::Wire(body)
    }
}

impl From<Payload> for Source {
    fn from(payload: Payload) -> Self {
        Self::Read(payload)
    }
}

/// Reads a request's body.
pub async fn read(body: impl Into<Source>, limit: u64) -> Result<Payload, ReadError> {
    let mut body = match body.into() {
        Source::Wire(body) => body,
        Source::Read(payload) => return Ok(payload),
    };
    let mut payload = Payload::default();
    if body.size_hint().lower() > limit {
        return Err(ReadError::TooLarge { limit });
    }
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() {
            payload.push(data);
        }
        if payload.length() > limit {
            return Err(ReadError::TooLarge { limit });
        }
    }
    Ok(payload)
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// Pieces as the worker yields them; an error aborts the connection.
    Streamed(Box<Streamed>),
    /// What a command answers.
    Proxied(Box<Proxied>),
}

/// The body of a command's answer, and what is to be done at its end.
#[derive(Debug)]
pub struct Proxied {
    body: Incoming,
    _permit: Option<OwnedSemaphorePermit>,
    /// Measured and logged at the end.
    pub exchange: Option<Exchange>,
}

impl Proxied {
    /// Makes a body of a command's.
    pub fn new(body: Incoming, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { body, _permit: permit, exchange: None }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // A body of known length is not asked for its end.
        let is_over = frame.is_none() || self.body.is_end_stream();
        if is_over && let Some(exchange) = self.exchange.take() {
            exchange.finish();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| StreamError::Cut)))
    }
}

/// A streamed body, and what is to be done at its end.
#[derive(Debug)]
pub struct Streamed {
    chunks: Chunks,
    hold: Hold,
    /// Its place among the requests that are taken at a time.
    pub permit: Option<OwnedSemaphorePermit>,
    /// Measured and logged at the end.
    pub exchange: Option<Exchange>,
    error: Option<StreamError>,
}

impl Streamed {
    /// Makes a body of the pieces of a call's answer.
    pub fn new(chunks: Chunks, hold: Hold) -> Self {
        Self { chunks, hold, permit: None, exchange: None, error: None }
    }
}

impl Body {
    /// Makes a body of known length.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Returns the bytes, where all of them are here.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => bytes.as_ref(),
            Self::Streamed(_) | Self::Proxied(_) => None,
        }
    }

    /// Returns the length, where it is known.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Whole(bytes) => Some(bytes.as_ref().map_or(0, Bytes::len)),
            Self::Streamed(_) => None,
            Self::Proxied(proxied) => {
                proxied.body.size_hint().exact().and_then(|length| usize::try_from(length).ok())
            }
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => streamed.poll_frame(context),
            Self::Proxied(proxied) => proxied.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, |length| SizeHint::with_exact(length as u64))
    }
}

impl Streamed {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(self.chunks.poll_next(context)) {
            Some(Ok(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Err(error)) => {
                self.hold.release();
                // What came before is sent first: an error drops what is still buffered.
                self.error = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.hold.release();
                if let Some(exchange) = self.exchange.take() {
                    exchange.finish();
                }
                Poll::Ready(None)
            }
        }
    }
}
