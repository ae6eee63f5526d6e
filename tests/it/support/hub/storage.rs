//! The storage of large files, which knows signed URLs and nothing of tokens.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::super::fake_server::{Answer, Received};
use super::State;
use super::content::Content;
use super::faults::Chosen;

/// What stays as it is in a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A path as it stands in a URL.
pub(super) fn escape(path: &str) -> PercentEncode<'_> {
    utf8_percent_encode(path, IN_PATH)
}

impl State {
    /// A URL of the storage for a file, good until the signatures expire.
    pub(super) fn sign(&mut self, name: &str, file: &Content) -> String {
        let sha256 = file.large.as_ref().map_or("", |large| &large.sha256);
        self.signed += 1;
        let signature = format!("signature-{}", self.signed);
        let url = format!("{}/lfs/{sha256}/{}?signature={signature}", self.storage, escape(name));
        self.signatures.insert(signature);
        url
    }

    /// What the storage answers.
    pub(super) fn fetch(&mut self, request: &Received, faults: &Chosen) -> Answer {
        if request.header("authorization").is_some() {
            return problem(400, "InvalidArgument", "Only one auth mechanism allowed");
        }
        if !request.parameter("signature").is_some_and(|signature| self.signatures.contains(signature)) {
            return problem(403, "AccessDenied", "Request has expired");
        }
        let sha256 = request.path.split('/').nth(2).unwrap_or_default();
        match self.repositories.values().find_map(|repository| repository.large(sha256)) {
            Some(file) if matches!(request.method.as_str(), "GET" | "HEAD") => file.answer(request, faults),
            Some(_) => problem(405, "MethodNotAllowed", "The method is not allowed"),
            None => missing(),
        }
    }
}

/// What storages say for a file that they do not have.
pub(super) fn missing() -> Answer {
    problem(404, "NoSuchKey", "The specified key does not exist.")
}

fn problem(status: u16, code: &str, message: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::status(status).header("Content-Type", "application/xml").body(body)
}
