//! What a registry says when it does not do what was asked.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::http::{Response, StatusCode, header};
use crate::redact;

/// Most of an error's text that is read: registries send a few hundred bytes, proxies a page.
const MAX_BODY: u64 = 64 * 1024;
/// Most of a text that is not the protocol's JSON which is shown.
const MAX_SHOWN: usize = 300;

/// An answer with an error status.
#[derive(Debug)]
pub struct Refusal {
    /// The request's method.
    pub method: String,
    /// The request's redacted URL.
    pub url: String,
    /// The status.
    pub status: u16,
    /// The protocol's error codes, such as `MANIFEST_UNKNOWN`.
    pub codes: Vec<String>,
    /// The server's own words, redacted; empty when it said nothing.
    pub message: String,
    /// The digests that the errors are about, where they name some.
    pub digests: Vec<String>,
    /// How long the server wants the client to wait.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "errors")]
    entries: Vec<ErrorEntry>,
    // Token services have these instead.
    message: Option<String>,
    details: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: Value,
}

impl Refusal {
    /// Reads what the server has to say; a body that cannot be read is left out.
    pub(super) async fn read(response: Response) -> Box<Self> {
        let method = response.method().to_string();
        let url = redact::url(response.url());
        let status = response.status().as_u16();
        let retry_after = response.header(header::RETRY_AFTER.as_str()).and_then(seconds);
        let body = response.bytes(MAX_BODY).await.unwrap_or_default();
        let (codes, message, digests) = understand(&body);
        Box::new(Self { method, url, status, codes, message: redact::text(&message), digests, retry_after })
    }

    /// Whether the status is one that goes away by waiting.
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 429 | 502 | 503 | 504)
    }

    /// Whether the server gives this code.
    pub fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|own| own == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
        write!(formatter, "`{} {}` is answered with {} {reason}", self.method, self.url, self.status)?;
        if self.message.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.message) }
    }
}

impl std::error::Error for Refusal {}

/// `Retry-After` in seconds; its other form, a date, would need a clock and is not used by registries.
fn seconds(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

/// Codes, message and digests of the protocol's JSON; any other text is its own message.
fn understand(body: &[u8]) -> (Vec<String>, String, Vec<String>) {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        let text = String::from_utf8_lossy(body);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_page = line.starts_with('<');
        let shown = line.chars().take(MAX_SHOWN).collect();
        return (Vec::new(), if is_page { String::new() } else { shown }, Vec::new());
    };
    let mut messages: Vec<String> = answer.entries.iter().map(ErrorEntry::describe).collect();
    let others = [answer.error, answer.error_description, answer.message, answer.details];
    messages.extend(others.into_iter().flatten());
    let digests = answer.entries.iter().filter_map(|entry| digest_in(&entry.detail)).collect();
    (answer.entries.into_iter().map(|entry| entry.code).collect(), messages.join("; "), digests)
}

impl ErrorEntry {
    fn describe(&self) -> String {
        let detail = match &self.detail {
            Value::String(text) if !text.is_empty() => format!(" ({text})"),
            _ => String::new(),
        };
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => format!("{message}{detail}"),
            (code, "") => format!("{code}{detail}"),
            (code, message) => format!("{code}: {message}{detail}"),
        }
    }
}

/// The digest that a detail names: directly, or as `{"digest": …}` or `{"Digest": …}`.
fn digest_in(detail: &Value) -> Option<String> {
    let member = ["digest", "Digest"].into_iter().find_map(|name| detail.get(name));
    member.unwrap_or(detail).as_str().filter(|text| text.starts_with("sha256:")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_errors_are_understood() {
        let body = br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":{"digest":"sha256:ab"}}]}"#;
        let (codes, message, digests) = understand(body);
        assert_eq!(codes, ["MANIFEST_BLOB_UNKNOWN"]);
        assert_eq!(message, "MANIFEST_BLOB_UNKNOWN: blob unknown to registry");
        assert_eq!(digests, ["sha256:ab"]);
    }

    #[test]
    fn other_answers_are_understood_as_far_as_possible() {
        assert_eq!(understand(br#"{"details":"incorrect username"}"#).1, "incorrect username");
        assert_eq!(understand(b"<html><title>502</title>").1, "");
        assert_eq!(understand(b"upstream\n  gone").1, "upstream gone");
        assert_eq!(understand(b"").1, "");
        assert_eq!(understand(&[0xff; 4000]).1.chars().count(), MAX_SHOWN);
    }
}
