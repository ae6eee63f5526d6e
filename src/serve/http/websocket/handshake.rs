//! The handshake of RFC 6455, section 4: what a client asks, and what it is answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use sha1::{Digest, Sha1};

use crate::serve::http::body::Body;
use crate::serve::http::{api, reply};
use crate::serve::worker::message::header_text;

/// What is added to a client's key before it is hashed (RFC 6455, 1.3).
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Bytes of a client's key, decoded.
const KEY_BYTES: usize = 16;

/// A good request for a WebSocket.
#[derive(Debug)]
pub struct Handshake {
    /// The protocols that the client speaks, those it likes best first.
    pub subprotocols: Vec<String>,
    accept: HeaderValue,
}

/// Tells whether a request asks for a WebSocket.
pub fn is_asked_for<B>(request: &Request<B>) -> bool {
    *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(request.headers(), &UPGRADE, "websocket")
        && has_token(request.headers(), &CONNECTION, "upgrade")
}

impl Handshake {
    /// Reads a request's headers; one that is wrong is answered.
    pub fn read(headers: &HeaderMap) -> Result<Self, Response<Body>> {
        if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            let mut response =
                reply::text(StatusCode::UPGRADE_REQUIRED, "This server speaks version 13 of WebSockets");
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, VERSION);
            return Err(response);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        if BASE64.decode(key).map_or(0, |key| key.len()) != KEY_BYTES {
            return Err(reply::text(StatusCode::BAD_REQUEST, "The header `sec-websocket-key` is no key"));
        }
        let digest = Sha1::new().chain_update(key).chain_update(SALT).finalize();
        let accept = HeaderValue::from_str(&BASE64.encode(digest));
        let accept =
            accept.map_err(|_| reply::text(StatusCode::BAD_REQUEST, "The key cannot be answered"))?;
        let subprotocols = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
        Ok(Self { subprotocols, accept })
    }

    /// The answer that makes the connection a WebSocket, with headers of the application.
    pub fn answer(self, mut headers: HeaderMap) -> Response<Body> {
        api::strip(&mut headers);
        // The front speaks none of them, whatever the application says.
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        let mut response = Response::new(Body::whole(bytes::Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        response
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Returns the words of a header that may have several, in one line or in many.
fn tokens(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| {
            let text = header_text(value).into_owned();
            text.split(',').map(|token| token.trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/chat");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn asked(extra: &[(&str, &str)]) -> Request<()> {
        let mut headers = vec![("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
        headers.extend(extra);
        request(&headers)
    }

    #[test]
    fn the_example_of_the_standard_is_answered_as_there() {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request =
            asked(&[key, ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat, superchat")]);
        assert!(is_asked_for(&request));
        let handshake = Handshake::read(request.headers()).unwrap();
        assert_eq!(handshake.subprotocols, ["chat", "superchat"]);
        let own = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("x"))]);
        let response = handshake.answer(own);
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let status = |headers: &[(&str, &str)]| {
            Handshake::read(asked(headers).headers()).map_err(|response| response.status()).unwrap_err()
        };
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(status(&[key]), 426);
        assert_eq!(status(&[key, ("sec-websocket-version", "8")]), 426);
        assert_eq!(status(&[("sec-websocket-version", "13")]), 400);
        assert_eq!(status(&[("sec-websocket-version", "13"), ("sec-websocket-key", "c2hvcnQ=")]), 400);
    }

    #[test]
    fn other_requests_ask_for_none() {
        assert!(!is_asked_for(&request(&[("upgrade", "websocket")])));
        assert!(!is_asked_for(&request(&[("connection", "upgrade")])));
        assert!(!is_asked_for(&request(&[("upgrade", "h2c"), ("connection", "upgrade")])));
        let mut post = asked(&[]);
        *post.method_mut() = Method::POST;
        assert!(!is_asked_for(&post));
    }
}
