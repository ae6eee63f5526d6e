//! Answers that the front gives by itself.

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::Body;

/// The text of every error whose cause is only for the log (runtime contract 3.4).
pub const HIDDEN: &str = "An unexpected error has occurred, please check the server log.";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(status, TEXT, body)
}

/// An answer of JSON.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(status, JSON, body)
}

/// An answer of any type.
pub fn typed(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An error as upstream writes it.
pub fn error(status: StatusCode, message: &str) -> Response<Body> {
    json(status, json!({ "error": message }).to_string())
}

/// The answer to a path that nothing is at.
pub fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "Not Found")
}

/// The answer to a method that a path does not have.
pub fn wrong_method(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The answer to a path with a slash too many.
pub fn redirect(location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else { return not_found() };
    let mut response = Response::new(Body::whole(Bytes::new()));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The answer while no worker can take the request.
pub fn not_ready(reason: &str, ready: usize, workers: usize) -> Response<Body> {
    let body = json!({
        "error": format!("The service is not ready: {reason}"),
        "workers": { "ready": ready, "total": workers },
    });
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, body.to_string());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
