//! The access log: one line for each request (runtime contract 3.10).

use std::fmt::Write;
use std::time::Duration;

use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::{Method, StatusCode};

use super::connection::Peer;
use super::identity::Identity;
use crate::serve::config::{AccessLog, IdentityFormat};
use crate::serve::worker::message::header_text;

impl AccessLog {
    /// Tells whether requests of this path are left out: those named, and those below them.
    pub fn skips(&self, path: &str) -> bool {
        self.skip_paths.iter().any(|skipped| {
            path.strip_prefix(skipped.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Writes the half of a line that tells of the request.
    pub fn request(&self, peer: Peer, method: &Method, path: &str, headers: &HeaderMap) -> String {
        let mut line = String::with_capacity(320);
        // Writing to a string does not fail.
        let (address, scheme) = (peer.address, peer.scheme());
        let _ = write!(line, "{address} (scheme={scheme},method={method},path=");
        printable(&mut line, path);
        fields(&mut line, headers, self.request_type, self.request_length, None);
        line.push_str(") (status=");
        line
    }

    /// Adds the half that tells of the answer.
    pub fn response(&self, line: &mut String, answer: &Answer<'_>) {
        let _ = write!(line, "{}", answer.status.as_u16());
        fields(line, answer.headers, self.response_type, self.response_length, answer.length);
        let Answer { identity, formats, service, .. } = answer;
        let micros = answer.duration.as_micros();
        let (trace, span) = (formats.trace.show(&identity.trace), formats.request.show(&identity.request));
        let sampled = u8::from(identity.is_sampled);
        let _ = write!(line, ") {}.{:03}ms (trace={trace},span={span}", micros / 1000, micros % 1000);
        let _ = write!(line, ",sampled={sampled},service.name={service})");
    }
}

/// What is logged of an answer.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The length, where it is known.
    pub length: Option<usize>,
    /// From the request's arrival on.
    pub duration: Duration,
    /// The request's identity.
    pub identity: &'a Identity,
    /// How identities are written.
    pub formats: &'a IdentityFormat,
    /// The service's name.
    pub service: &'a str,
}

fn fields(line: &mut String, headers: &HeaderMap, has_type: bool, has_length: bool, length: Option<usize>) {
    if has_type {
        line.push_str(",type=");
        header(line, headers, &CONTENT_TYPE);
    }
    if has_length {
        line.push_str(",length=");
        match length {
            Some(length) => {
                let _ = write!(line, "{length}");
            }
            None => header(line, headers, &CONTENT_LENGTH),
        }
    }
}

fn header(line: &mut String, headers: &HeaderMap, name: &HeaderName) {
    if let Some(value) = headers.get(name) {
        printable(line, &header_text(value));
    }
}

/// Adds a client's text without characters that could forge another line.
fn printable(line: &mut String, text: &str) {
    line.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::header::HeaderValue;

    use super::*;
    use crate::serve::config::identity_format::NumberFormat;

    fn all() -> AccessLog {
        AccessLog {
            request_length: true,
            request_type: true,
            response_length: true,
            response_type: true,
            skip_paths: vec!["/livez".to_owned()],
        }
    }

    #[test]
    fn a_line_is_upstreams() {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CONTENT_LENGTH, HeaderValue::from_static("13")),
        ]);
        let peer = Peer { address: "127.0.0.1:56922".parse().unwrap(), is_secure: false };
        let mut line = all().request(peer, &Method::POST, "/echo", &headers);
        let trace: Arc<str> = "ad42".into();
        let identity =
            Identity { trace, request: "0220f97cd44d1018".into(), parent: None, is_sampled: false };
        let text =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))]);
        let answer = Answer {
            status: StatusCode::OK,
            headers: &text,
            length: Some(2),
            duration: Duration::from_micros(16_660),
            identity: &identity,
            formats: &IdentityFormat {
                trace: NumberFormat::parse("x").unwrap(),
                ..IdentityFormat::default()
            },
            service: "Main",
        };
        all().response(&mut line, &answer);
        assert_eq!(
            line,
            "127.0.0.1:56922 (scheme=http,method=POST,path=/echo,type=application/json,length=13) \
             (status=200,type=text/plain; charset=utf-8,length=2) 16.660ms \
             (trace=ad42,span=0220f97cd44d1018,sampled=0,service.name=Main)"
        );
    }

    #[test]
    fn absent_values_are_empty_and_paths_cannot_forge_lines() {
        let peer = Peer { address: "[::1]:1".parse().unwrap(), is_secure: true };
        let line = all().request(peer, &Method::GET, "/a\u{85}b", &HeaderMap::new());
        assert_eq!(line, "[::1]:1 (scheme=https,method=GET,path=/a?b,type=,length=) (status=");
    }

    #[test]
    fn only_the_paths_themselves_are_skipped() {
        assert!(all().skips("/livez") && all().skips("/livez/"));
        assert!(!all().skips("/livez_report"));
    }
}
