//! A call on its way to a worker, and what comes back.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use thiserror::Error;

use super::message::{Encoding, HeadError, MessageError, ResponseHead, header_text};
use super::stream::Chunks;
use crate::serve::batch::array::ArrayHead;
use crate::serve::payload::Payload;

/// A call of an API, ready to be sent.
#[derive(Debug)]
pub struct Call {
    /// The API's place in the manifest.
    pub endpoint: usize,
    /// The API's name.
    pub name: Arc<str>,
    /// Who calls.
    pub caller: Caller,
    /// The request's body, or the arguments.
    pub body: Payload,
    /// How the arguments are written; `None` for the body of an HTTP request as it came.
    pub encoding: Option<Encoding>,
    /// How many rows of a batch the call is, as far as the front knows.
    pub rows: u64,
    /// Which calls it may be merged with.
    pub kinship: Kinship,
    /// When the caller is told that it took too long.
    pub deadline: Option<Instant>,
    /// The request's identity, 16 hexadecimal digits.
    pub request_id: Arc<str>,
}

/// Who calls.
#[derive(Debug)]
pub enum Caller {
    /// An HTTP client; the request without its body.
    Client(Box<Parts>),
    /// A worker.
    Worker,
}

/// Who asks, as an extension of a request that is for an application.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client's address.
    pub address: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// The task that a request is run for, as an extension of it.
#[derive(Clone, Debug)]
pub struct TaskId(pub String);

/// Which calls of the same API a call may be merged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// None.
    Alone,
    /// Others whose bodies only the worker can read; it merges what is alike.
    Unread,
    /// Others with rows like these.
    Rows(ArrayHead),
    /// Others of which their workers say the same.
    Key(String),
}

impl Call {
    /// Whether it is an HTTP request that the front has read as an array.
    pub fn is_client_array(&self) -> bool {
        self.caller.is_client() && self.encoding.is_some()
    }
}

impl Caller {
    /// Whether the answer goes to an HTTP client.
    pub fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    /// Returns the content type of a client's request, empty when it has none.
    pub fn content_type(&self) -> Option<Cow<'_, str>> {
        let Self::Client(head) = self else { return None };
        Some(head.headers.get(CONTENT_TYPE).map(header_text).unwrap_or_default())
    }
}

impl Kinship {
    /// Whether two calls may be merged.
    pub fn is_kin(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unread, Self::Unread) => true,
            (Self::Rows(mine), Self::Rows(theirs)) => mine.is_mergeable(theirs),
            (Self::Key(mine), Self::Key(theirs)) => mine == theirs,
            _ => false,
        }
    }
}

/// How a call was answered, and by which worker.
#[derive(Debug)]
pub struct Answered {
    /// The worker's number, from 1.
    pub worker: u32,
    /// The answer.
    pub outcome: Result<Outcome, CallError>,
}

/// A worker's answer.
#[derive(Debug)]
pub enum Outcome {
    /// All of it, for an HTTP client.
    Whole(ResponseHead, Bytes),
    /// A Python value, for a worker.
    Value(Encoding, Payload),
    /// The beginning; the body follows.
    Streamed(ResponseHead, Chunks),
}

/// A call without an answer that can be sent on.
#[derive(Debug, Error)]
pub enum CallError {
    /// The worker died, or its socket closed.
    #[error("worker {worker} died during the call")]
    WorkerLost {
        /// The worker's number.
        worker: u32,
    },
    /// The service was loaded again before a worker was free.
    #[error("the service was loaded again before the call could run")]
    Abandoned,
    /// It would have been answered later than `max_latency_ms` allows.
    #[error("the API `{api}` has more calls than it can answer in time")]
    Overloaded {
        /// The API's name.
        api: Arc<str>,
    },
    /// The request does not fit into a message.
    #[error("cannot send the request to a worker")]
    Unsendable(#[source] MessageError),
    /// The answer's status or headers are not HTTP.
    #[error("cannot use the answer of the API")]
    Head(#[from] HeadError),
    /// The answers to a batch are not as many as its calls, or not of a type that can be sent.
    #[error("cannot divide the answer to a batch among its {calls} calls")]
    Indivisible {
        /// How many calls the batch had.
        calls: usize,
    },
}
