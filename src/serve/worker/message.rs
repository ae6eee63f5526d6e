//! The messages of the worker protocol (docs/formats/worker-protocol.md).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::frame::{Encoded, Frame, FrameError};
use super::sealed::{Sealed, SealedError};
use super::socket_message::{ConnectHeader, FromSocket, Kind as SocketKind};
use crate::serve::batch::array::ArrayHead;
use crate::serve::manifest::{ManifestError, ServiceManifest};
use crate::serve::payload::Payload;

/// The version of the protocol this front speaks.
pub const PROTOCOL: u32 = 2;

/// A message that cannot be read or written.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The frame itself is wrong.
    #[error("cannot use a frame")]
    Frame(#[from] FrameError),
    /// The header is not the JSON object its type asks for.
    #[error("cannot read the header of a frame")]
    Header(#[from] serde_json::Error),
    /// The header is JSON, but no object.
    #[error("the header of a frame is not a JSON object")]
    NotAnObject,
    /// The type is none of this protocol's.
    #[error("the message type `{kind}` is unknown")]
    Unknown {
        /// The type as received.
        kind: String,
    },
    /// The worker speaks another version.
    #[error(
        "the worker speaks protocol {found}, this front speaks {PROTOCOL}; they are of different releases"
    )]
    Protocol {
        /// The worker's version.
        found: u32,
    },
    /// A shared body is that of no value.
    #[error("a shared body is not that of a value")]
    NoValue,
    /// A shared body cannot be used.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// There is no call to send.
    #[error("there is no call to send")]
    NoCall,
    /// The answers to a batch are not the whole body.
    #[error("the lengths of a batch's answers are not that of the body")]
    Lengths,
    /// The service's description cannot be served.
    #[error("cannot serve what the worker describes")]
    Manifest(#[from] ManifestError),
}

/// A message to a worker.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToWorker<'a> {
    /// Run one API call.
    Call(#[serde(borrow)] CallHeader<'a>),
    /// Run one API for several calls at once.
    Batch(#[serde(borrow)] BatchHeader<'a>),
    /// The answer to an `invoke`; a value where it has an encoding, otherwise as an HTTP client would get it.
    Outcome {
        /// The invocation.
        id: u64,
        /// The status; from 400 on the body tells why.
        status: u16,
        /// How the value in the body is written.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        encoding: Option<Encoding>,
    },
    /// A piece of the answer to an `invoke`.
    Item {
        /// The invocation.
        id: u64,
    },
    /// The end of an answer in pieces.
    Done {
        /// The invocation.
        id: u64,
        /// Why it ended too early.
        error: Option<Cow<'a, str>>,
    },
    /// The client is gone or the deadline has passed.
    Cancel {
        /// The call.
        id: u64,
    },
    /// Run a health hook.
    Probe {
        /// The probe.
        id: u64,
        /// Which hook.
        what: Probe,
    },
    /// Give the user's own metrics.
    Metrics {
        /// The question.
        id: u64,
    },
    /// Use these devices: the answer to the description of a service that was started without.
    Place {
        /// Variables of the environment.
        variables: BTreeMap<String, String>,
    },
    /// A client asks for a WebSocket.
    Connect(#[serde(borrow)] ConnectHeader<'a>),
    /// A message of a client.
    Receive {
        /// The WebSocket.
        id: u64,
        /// How the body is meant.
        kind: SocketKind,
    },
    /// Messages of the application that are with the client.
    Sent {
        /// The WebSocket.
        id: u64,
        /// What they have taken of the window.
        bytes: u64,
    },
    /// The WebSocket is over.
    Disconnect {
        /// The WebSocket.
        id: u64,
        /// Why.
        code: u16,
        /// What the client says to it.
        reason: Cow<'a, str>,
    },
    /// Finish and exit.
    Drain,
}

/// The header of a `call`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub struct CallHeader<'a> {
    /// Unique among the calls in flight on one worker.
    pub id: u64,
    /// The API's name.
    pub endpoint: Cow<'a, str>,
    /// The request's method.
    pub method: Cow<'a, str>,
    /// The request's path.
    pub path: Cow<'a, str>,
    /// The request's query, raw.
    pub query: Cow<'a, str>,
    /// The request's headers, names in lower case, values read as Latin-1.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What is left until the deadline.
    pub timeout_ms: Option<u64>,
    /// The request's identity in logs and in the answer.
    pub request_id: Cow<'a, str>,
    /// How the arguments in the body are written; none for the body of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encoding: Option<Encoding>,
    /// Who asks, where an application is asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<(Cow<'a, str>, u16)>,
    /// `http` or `https`, where an application is asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scheme: Option<Cow<'a, str>>,
    /// What the handler finds in its request's state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<CallState<'a>>,
}

/// What the handler of a call finds in its request's state.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub struct CallState<'a> {
    /// The task that the call is run for.
    pub task_id: Cow<'a, str>,
}

/// The header of a `batch`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub struct BatchHeader<'a> {
    /// Unique among the calls in flight on one worker.
    pub id: u64,
    /// The API's name.
    pub endpoint: Cow<'a, str>,
    /// The calls, in the order in which their bodies follow one another.
    #[serde(borrow)]
    pub calls: Vec<BatchedCall<'a>>,
    /// The one array that all bodies together are; none when each is for itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub array: Option<ArrayHead>,
}

/// One call of a batch.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub struct BatchedCall<'a> {
    /// The request's identity.
    pub request_id: Cow<'a, str>,
    /// Bytes of its body.
    pub length: u64,
    /// Rows of the array, where there is one.
    pub rows: u64,
    /// The content type of an HTTP request, with its parameters; empty when it has none, absent for a worker's call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content_type: Option<Cow<'a, str>>,
    /// How the arguments in the body are written; none for the body of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encoding: Option<Encoding>,
}

/// How Python values are written between workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Encoding {
    /// The elements of one array.
    Array(ArrayHead),
    /// A pickle of protocol 5, and the buffers that it does not have inside.
    Pickle {
        /// Bytes of each part, the pickle first.
        lengths: Vec<u64>,
    },
}

/// The header of an `invoke`: a call from one worker to another.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Invoke {
    /// Chosen by the worker, unique among its invocations in flight.
    pub id: u64,
    /// The unit that is called.
    pub unit: String,
    /// The method's name.
    pub endpoint: String,
    /// How the arguments are written.
    pub encoding: Encoding,
    /// How many rows of a batch the call is.
    #[serde(default = "one")]
    pub rows: u64,
    /// What the calls have in common that it may be merged with; none when it must run alone.
    #[serde(default)]
    pub key: Option<String>,
    /// The identity of the request on whose behalf it is made.
    #[serde(default)]
    pub request_id: String,
}

fn one() -> u64 {
    1
}

/// A health hook of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// `__is_ready__`.
    Ready,
    /// `__is_alive__`.
    Alive,
}

impl ToWorker<'_> {
    /// Writes the message and its body as one frame.
    pub fn encode(&self, body: Payload) -> Result<Encoded, MessageError> {
        Encoded::new(|out| serde_json::to_writer(out, self).map_err(MessageError::Header), body)
    }
}

/// A message from a worker.
#[derive(Debug)]
pub enum FromWorker {
    /// What the worker serves; its first message.
    Describe(Box<ServiceManifest>),
    /// Calls may be sent.
    Ready,
    /// The worker cannot serve.
    Failed(Failure),
    /// The whole answer to a call.
    Reply(u64, Answer),
    /// The answers to a batch.
    Results(u64, Results),
    /// A call of another unit.
    Invoke(Box<Invoke>, Payload),
    /// Nobody waits for the answer to an `invoke` any more.
    Withdraw(u64),
    /// The beginning of a streamed answer.
    Stream(u64, Result<ResponseHead, HeadError>),
    /// A piece of a streamed answer.
    Chunk(u64, Bytes),
    /// The end of a streamed answer; an error aborts the client's connection.
    End(u64, Option<String>),
    /// The answer to a probe.
    Probed(u64, Probed),
    /// The user's metrics.
    Measured(u64, Bytes),
    /// What the application at a WebSocket does.
    Socket(u64, FromSocket),
    /// It has started the service's own program: the number of its group of processes.
    Command(i32),
    /// A line for the front's log.
    Log(Level, String),
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers; an error when the user's code gave ones that HTTP cannot carry.
    pub head: Result<ResponseHead, HeadError>,
    /// The body.
    pub body: Bytes,
    /// How the value in the body is written; none for the body of an HTTP answer.
    pub encoding: Option<Encoding>,
    /// The value, where workers share it instead.
    pub shared: Option<Arc<Sealed>>,
}

/// The answers to a batch.
#[derive(Debug)]
pub enum Results {
    /// One array, of which every call has its rows.
    Merged(ArrayHead, Bytes),
    /// One for each call.
    Each(Vec<Answer>),
}

/// Status and headers of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

impl ResponseHead {
    /// The head of a good answer in JSON.
    pub fn json() -> Self {
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { status: StatusCode::OK, headers: HeaderMap::from_iter([json]) }
    }
}

/// A status or header that HTTP cannot carry.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// Not 200 to 999, or an interim status.
    #[error("the status {status} cannot be sent")]
    Status {
        /// The status as given.
        status: u16,
    },
    /// A header's name or value has characters that are not allowed.
    #[error("the header `{name}` cannot be sent")]
    Header {
        /// The header's name as given.
        name: String,
    },
}

/// Why a worker cannot serve.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Failure {
    /// What it was doing.
    pub stage: String,
    /// One line.
    pub message: String,
    /// The traceback.
    #[serde(default)]
    pub detail: String,
}

/// The answer of a health hook.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Probed {
    /// What the hook returned.
    pub ok: bool,
    /// Why it is not, where the hook says so.
    #[serde(default)]
    pub message: Option<String>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// The course of things.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

impl FromWorker {
    /// Reads a frame.
    pub fn decode(frame: Frame) -> Result<Self, MessageError> {
        let header = frame.header.as_ref();
        if header.trim_ascii_start().first() != Some(&b'{') {
            return Err(MessageError::NotAnObject);
        }
        let kind = serde_json::from_slice::<Kind<'_>>(header)?.kind;
        Ok(match kind.as_ref() {
            "reply" => {
                let wire: WireHead<'_> = serde_json::from_slice(header)?;
                let encoding = wire.encoding.clone();
                Self::Reply(
                    wire.id,
                    Answer { head: wire.into_head(), body: frame.body, encoding, shared: None },
                )
            }
            "results" => {
                let wire: WireResults<'_> = serde_json::from_slice(header)?;
                Self::Results(wire.id, wire.into_results(&frame.body)?)
            }
            "invoke" => Self::Invoke(serde_json::from_slice(header)?, frame.body.into()),
            "withdraw" => Self::Withdraw(serde_json::from_slice::<Id>(header)?.id),
            "chunk" => Self::Chunk(serde_json::from_slice::<Id>(header)?.id, frame.body),
            "stream" => {
                let wire: WireHead<'_> = serde_json::from_slice(header)?;
                Self::Stream(wire.id, wire.into_head())
            }
            "end" => {
                let wire: WireEnd = serde_json::from_slice(header)?;
                Self::End(wire.id, wire.error)
            }
            "probed" => {
                Self::Probed(serde_json::from_slice::<Id>(header)?.id, serde_json::from_slice(header)?)
            }
            "measured" => Self::Measured(serde_json::from_slice::<Id>(header)?.id, frame.body),
            "log" => {
                let wire: WireLog = serde_json::from_slice(header)?;
                Self::Log(wire.level, wire.message)
            }
            "accept" | "deny" | "send" | "received" | "close" => {
                let id = serde_json::from_slice::<Id>(header)?.id;
                Self::Socket(id, FromSocket::decode(&kind, header, frame.body)?)
            }
            "describe" => Self::Describe(describe(header)?),
            "command" => Self::Command(serde_json::from_slice::<WireCommand>(header)?.pid),
            "ready" => Self::Ready,
            "failed" => Self::Failed(serde_json::from_slice(header)?),
            _ => return Err(MessageError::Unknown { kind: kind.into_owned() }),
        })
    }
}

impl FromWorker {
    /// Gives a message the body that was not in its frame. Only values are shared: others read all that clients get.
    pub fn with_shared(self, body: Arc<Sealed>) -> Result<Self, MessageError> {
        match self {
            Self::Invoke(invoke, _) => Ok(Self::Invoke(invoke, body.into())),
            Self::Reply(id, answer) if answer.encoding.is_some() => {
                Ok(Self::Reply(id, Answer { shared: Some(body), ..answer }))
            }
            _ => Err(MessageError::NoValue),
        }
    }
}

fn describe(header: &[u8]) -> Result<Box<ServiceManifest>, MessageError> {
    let found = serde_json::from_slice::<WireProtocol>(header)?.protocol;
    if found != PROTOCOL {
        return Err(MessageError::Protocol { found });
    }
    let service = serde_json::from_slice::<WireDescribe>(header)?.service;
    service.validate()?;
    Ok(service)
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct WireProtocol {
    protocol: u32,
}

#[derive(Deserialize)]
struct WireDescribe {
    service: Box<ServiceManifest>,
}

#[derive(Deserialize)]
struct WireHead<'a> {
    id: u64,
    status: u16,
    #[serde(borrow)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(default)]
    encoding: Option<Encoding>,
}

#[derive(Deserialize)]
struct WireResults<'a> {
    id: u64,
    #[serde(default)]
    array: Option<ArrayHead>,
    #[serde(borrow, default)]
    answers: Vec<WireAnswer<'a>>,
}

#[derive(Deserialize)]
struct WireAnswer<'a> {
    status: u16,
    #[serde(borrow, default)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    length: u64,
    #[serde(default)]
    encoding: Option<Encoding>,
}

#[derive(Deserialize)]
struct WireCommand {
    pid: i32,
}

#[derive(Deserialize)]
struct WireEnd {
    id: u64,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct WireLog {
    level: Level,
    message: String,
}

impl WireHead<'_> {
    fn into_head(self) -> Result<ResponseHead, HeadError> {
        response_head(self.status, &self.headers)
    }
}

impl WireResults<'_> {
    /// Cuts the body into the answers; their lengths must be the whole of it.
    fn into_results(self, body: &Bytes) -> Result<Results, MessageError> {
        if let Some(array) = self.array {
            return Ok(Results::Merged(array, body.clone()));
        }
        let mut rest = body.clone();
        let mut answers = Vec::with_capacity(self.answers.len());
        for WireAnswer { status, headers, length, encoding } in self.answers {
            let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
            let body = rest.split_to(length.ok_or(MessageError::Lengths)?);
            answers.push(Answer { head: response_head(status, &headers), body, encoding, shared: None });
        }
        if rest.is_empty() { Ok(Results::Each(answers)) } else { Err(MessageError::Lengths) }
    }
}

pub(super) fn response_head(
    status: u16,
    pairs: &[(Cow<'_, str>, Cow<'_, str>)],
) -> Result<ResponseHead, HeadError> {
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or(HeadError::Status { status })?;
    Ok(ResponseHead { status, headers: response_headers(pairs)? })
}

/// Reads headers; their values are Latin-1.
pub(super) fn response_headers(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::with_capacity(pairs.len() + 2);
    for (name, value) in pairs {
        let header = || HeadError::Header { name: name.clone().into_owned() };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| header())?;
        headers.append(name, latin1(value).ok_or_else(header)?);
    }
    Ok(headers)
}

fn latin1(value: &str) -> Option<HeaderValue> {
    if value.is_ascii() {
        return HeaderValue::from_str(value).ok();
    }
    let bytes: Option<Vec<u8>> =
        value.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

/// Reads a header's value as text: ASCII as it is, other bytes as Latin-1, which every byte sequence is.
pub fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    match value.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().map(|&byte| char::from(byte)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(header: &str) -> Result<FromWorker, MessageError> {
        FromWorker::decode(Frame { header: Bytes::from(header.to_owned()), body: Bytes::new(), shared: None })
    }

    /// A header that is no JSON object, and an unknown `type`, MUST be refused.
    #[test]
    fn wrong_headers_are_refused() {
        for header in ["[]", "[\"ready\"]", "1", "\u{0}"] {
            assert!(matches!(decode(header), Err(MessageError::NotAnObject)), "{header}");
        }
        for header in ["{", "{}", "{\"type\":1}", "{\"type\":\"reply\"}"] {
            assert!(matches!(decode(header), Err(MessageError::Header(_))), "{header}");
        }
        let unknown = decode(r#"{"type":"hello"}"#).unwrap_err();
        assert_eq!(unknown.to_string(), "the message type `hello` is unknown");
        let other = decode(r#"{"type":"describe","protocol":1,"service":{}}"#).unwrap_err();
        assert!(matches!(other, MessageError::Protocol { found: 1 }));
    }

    /// Unknown members of a header MUST be ignored.
    #[test]
    fn unknown_members_are_ignored() {
        assert!(matches!(decode(r#"{"type":"ready","later":{"a":1}}"#), Ok(FromWorker::Ready)));
        assert!(matches!(decode(r#"{"later":1,"type":"end","id":7}"#), Ok(FromWorker::End(7, None))));
    }

    #[test]
    fn what_http_cannot_carry_is_told_apart() {
        let head = |header: &str| match decode(header).unwrap() {
            FromWorker::Reply(_, answer) => answer.head,
            other => panic!("{other:?}"),
        };
        let bad = head(r#"{"type":"reply","id":1,"status":99,"headers":[]}"#);
        assert_eq!(bad, Err(HeadError::Status { status: 99 }));
        let bad = head(r#"{"type":"reply","id":1,"status":200,"headers":[["x-a","1\r\nx-b: 2"]]}"#);
        assert_eq!(bad, Err(HeadError::Header { name: "x-a".to_owned() }));
        let good =
            head(r#"{"type":"reply","id":1,"status":200,"headers":[["X-A","é"],["x-a","2"]]}"#).unwrap();
        let values: Vec<&[u8]> = good.headers.get_all("x-a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [b"\xe9".as_slice(), b"2"]);
    }

    proptest! {
        #[test]
        fn any_header_is_decoded_or_refused(header in proptest::collection::vec(any::<u8>(), 1..100)) {
            let _ = FromWorker::decode(Frame { header: header.into(), body: Bytes::new(), shared: None });
        }

        #[test]
        fn header_values_survive_the_way_there_and_back(bytes in proptest::collection::vec(0x20u8..=0xff, 0..50)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                prop_assert_eq!(latin1(&header_text(&value)).unwrap(), value);
            }
        }
    }
}
