//! Smaller answers, for clients that can unpack them.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, VARY,
};
use hyper::{Response, StatusCode};

use super::body::Body;
use crate::blocking;
use crate::serve::config::Compression;

/// How hard is tried: most of what can be saved, for a third of the time that the rest would take.
const LEVEL: u32 = 4;

/// Bodies from here on are compressed beside the tasks that answer others.
const LARGE: usize = 64 * 1024;

const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Types of text beside `text/*`.
const TEXTUAL: [&str; 5] = [
    "application/javascript",
    "application/json",
    "application/x-ndjson",
    "application/xml",
    "image/svg+xml",
];

impl Compression {
    /// Compresses an answer, if it is a whole text that is long enough and the client takes it.
    pub async fn apply(self, is_accepted: bool, mut response: Response<Body>) -> Response<Body> {
        if !self.is_meant(&response) {
            return response;
        }
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
        let Some(bytes) = response.body().bytes().filter(|_| is_accepted).cloned() else { return response };
        let Some(smaller) = shrink(bytes).await else { return response };
        *response.body_mut() = Body::whole(smaller);
        let headers = response.headers_mut();
        headers.insert(CONTENT_ENCODING, GZIP);
        weaken(headers);
        response
    }

    fn is_meant(self, response: &Response<Body>) -> bool {
        let headers = response.headers();
        let is_untouched = !headers.contains_key(CONTENT_ENCODING) && !headers.contains_key(CONTENT_RANGE);
        let is_long = response.body().length().is_some_and(|length| length >= self.min_size);
        is_long && is_untouched && response.status() != StatusCode::PARTIAL_CONTENT && is_text(headers)
    }
}

/// Tells whether a client takes `gzip`.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let mut any = None;
    for word in values.flat_map(|value| value.split(',')) {
        let mut parts = word.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let is_wanted = quality.is_none_or(|quality| quality.trim().parse::<f32>().is_ok_and(|q| q > 0.0));
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return is_wanted;
        }
        if coding == "*" {
            any = Some(is_wanted);
        }
    }
    any.unwrap_or(false)
}

fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/") || kind.ends_with("+json") || TEXTUAL.contains(&kind.as_str())
}

/// An entity that is the same and yet other bytes.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(ETAG, weak);
    }
}

async fn shrink(bytes: Bytes) -> Option<Bytes> {
    if bytes.len() < LARGE {
        return pack(&bytes);
    }
    blocking::run(move || pack(&bytes)).await
}

/// Packs a text; one that does not get smaller is `None`.
fn pack(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::new(LEVEL));
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish()).ok()?;
    (packed.len() < bytes.len()).then(|| packed.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn text(kind: &'static str, body: &str) -> Response<Body> {
        let mut response = Response::new(Body::whole(Bytes::copy_from_slice(body.as_bytes())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    #[test]
    fn clients_say_what_they_take() {
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.0", false),
            ("*", true),
            ("*;q=0", false),
            ("identity, br", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn texts_are_packed_and_unpack_to_what_they_were() {
        for length in [2000, LARGE * 3] {
            let body = "abc ".repeat(length / 4);
            let mut response = text("application/json; charset=utf-8", &body);
            response.headers_mut().insert(ETAG, HeaderValue::from_static("\"1\""));
            let response = Compression { min_size: 1000 }.apply(true, response).await;
            assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
            assert_eq!(response.headers()[ETAG], "W/\"1\"");
            let packed = response.body().bytes().unwrap();
            let mut unpacked = String::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
            assert!(unpacked == body && packed.len() < length / 4);
        }
    }

    #[tokio::test]
    async fn everything_else_stays_as_it_is() {
        let long = "abc ".repeat(1000);
        let compression = Compression { min_size: 1000 };
        let unasked = compression.apply(false, text("text/plain", &long)).await;
        assert_eq!(unasked.headers().get(CONTENT_ENCODING), None);
        assert_eq!(unasked.headers()[VARY], "Accept-Encoding");
        for mut response in [text("image/png", &long), text("text/plain", "short"), text("text/plain", &long)]
        {
            if response.headers()[CONTENT_TYPE] == "text/plain" && response.body().length() > Some(5) {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
            }
            let length = response.body().length();
            let response = compression.apply(true, response).await;
            assert_eq!((response.body().length(), response.headers().get(VARY)), (length, None));
        }
    }
}
