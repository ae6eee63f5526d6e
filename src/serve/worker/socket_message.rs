//! The messages of the worker protocol that are about WebSockets.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::message::{HeadError, MessageError, ResponseHead, response_head, response_headers};

/// The code of an end of which nobody said why.
pub const NORMAL: u16 = 1000;

/// The header of a `connect`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub struct ConnectHeader<'a> {
    /// Unique among the WebSockets and calls in flight on one worker.
    pub id: u64,
    /// The request's path.
    pub path: Cow<'a, str>,
    /// The request's query, raw.
    pub query: Cow<'a, str>,
    /// The request's headers, names in lower case, values read as Latin-1.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The protocols that the client speaks, those it likes best first.
    pub subprotocols: Vec<Cow<'a, str>>,
    /// The client's address.
    pub client: (Cow<'a, str>, u16),
    /// `ws` or `wss`.
    pub scheme: Cow<'a, str>,
    /// The request's identity in logs.
    pub request_id: Cow<'a, str>,
}

/// How the bytes of a message are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// As text in UTF-8.
    Text,
    /// As they are.
    Bytes,
}

/// What the application at a WebSocket does.
#[derive(Debug)]
pub enum FromSocket {
    /// It takes the WebSocket.
    Accept(Result<Acceptance, HeadError>),
    /// It refuses it, with an answer to the request.
    Deny(Result<ResponseHead, HeadError>, Bytes),
    /// It sends a message.
    Send(Kind, Bytes),
    /// It has taken messages of so many bytes.
    Received(u64),
    /// It ends the WebSocket, with a code and a reason.
    Close(u16, String),
}

/// A WebSocket that was taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The protocol that was chosen.
    pub subprotocol: Option<String>,
    /// Headers of the answer to the request.
    pub headers: HeaderMap,
}

impl FromSocket {
    /// Reads a frame of the type `kind`.
    pub fn decode(kind: &str, header: &[u8], body: Bytes) -> Result<Self, MessageError> {
        Ok(match kind {
            "accept" => {
                let WireAccept { subprotocol, headers } = serde_json::from_slice(header)?;
                Self::Accept(response_headers(&headers).map(|headers| Acceptance { subprotocol, headers }))
            }
            "deny" => {
                let WireDeny { status, headers } = serde_json::from_slice(header)?;
                Self::Deny(response_head(status, &headers), body)
            }
            "send" => Self::Send(serde_json::from_slice::<WireSend>(header)?.kind, body),
            "received" => Self::Received(serde_json::from_slice::<WireReceived>(header)?.bytes),
            "close" => {
                let WireClose { code, reason } = serde_json::from_slice(header)?;
                Self::Close(code, reason)
            }
            _ => return Err(MessageError::Unknown { kind: kind.to_owned() }),
        })
    }
}

#[derive(Deserialize)]
struct WireAccept<'a> {
    #[serde(default)]
    subprotocol: Option<String>,
    #[serde(borrow, default)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Deserialize)]
struct WireDeny<'a> {
    status: u16,
    #[serde(borrow, default)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Deserialize)]
struct WireSend {
    kind: Kind,
}

#[derive(Deserialize)]
struct WireReceived {
    bytes: u64,
}

#[derive(Deserialize)]
struct WireClose {
    #[serde(default = "normal")]
    code: u16,
    #[serde(default)]
    reason: String,
}

fn normal() -> u16 {
    NORMAL
}
