//! Names of images in registries: `host/repository:tag@digest`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::digest::Digest;

/// The registry that a name without a host means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag that a name without one means.
pub const DEFAULT_TAG: &str = "latest";
/// Longest repository path that registries accept (distribution-spec, Pulling manifests).
const MAX_REPOSITORY: usize = 255;
/// Longest tag (distribution-spec, Pulling manifests).
const MAX_TAG: usize = 128;

/// A repository in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// Host and, where not the scheme's own, port.
    pub registry: String,
    /// Path of the repository in the registry, such as `library/python`.
    pub path: String,
}

/// The full name of an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Registry and repository.
    pub repository: Repository,
    /// Tag; absent only when there is a digest.
    pub tag: Option<String>,
    /// Digest of the manifest, which then decides.
    pub digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ParseReferenceError {
    /// The text as it was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Repository {
    /// Whether the registry is on this machine, where plain HTTP is the custom.
    pub fn is_loopback(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    }
}

impl Reference {
    /// What comes after `manifests/` in the registry's interface: the digest where there is one, else the tag.
    pub fn manifest_name(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(formatter, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(formatter, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, ParseReferenceError> {
        let refuse = |reason| ParseReferenceError { text: without_credentials(text), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse().map_err(|_| refuse("the part after `@` is not a SHA-256 digest"))?),
            ),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse(
                "a tag has up to 128 letters, digits, `_`, `.` and `-`, and starts with neither `.` nor `-`",
            ));
        }
        let (registry, path) = split_registry(name);
        if !is_repository(&path) {
            return Err(refuse("a repository has lower-case words joined by `/`, `.`, `_` or `-`"));
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        Ok(Self { repository: Repository { registry, path }, tag, digest })
    }
}

/// Splits off the first component when it looks like a host, as Docker does, and completes names of Docker Hub.
fn split_registry(name: &str) -> (String, String) {
    match name.split_once('/') {
        Some((host, path)) if host == "localhost" || host.contains(['.', ':']) => {
            let path = if host == DEFAULT_REGISTRY && !path.contains('/') {
                format!("library/{path}")
            } else {
                path.to_owned()
            };
            (host.to_owned(), path)
        }
        Some(_) => (DEFAULT_REGISTRY.to_owned(), name.to_owned()),
        None => (DEFAULT_REGISTRY.to_owned(), format!("library/{name}")),
    }
}

/// A text that should have been a reference, as it may be shown: what stands before an `@` may be user and password.
pub fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, after)) if !after.starts_with("sha256:") => {
            let scheme = before.find("://").map_or("", |end| &before[..end + "://".len()]);
            format!("{scheme}****@{after}")
        }
        _ => text.to_owned(),
    }
}

/// Whether `tag` may name an image in a repository.
pub fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

fn is_repository(path: &str) -> bool {
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    path.len() <= MAX_REPOSITORY
        && path.split('/').all(|word| {
            let bytes = word.as_bytes();
            bytes.first().copied().is_some_and(is_edge)
                && bytes.last().copied().is_some_and(is_edge)
                && bytes.iter().all(|&byte| is_edge(byte) || matches!(byte, b'.' | b'_' | b'-'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (text, full) in [
            ("python", "docker.io/library/python:latest"),
            ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
            ("me/app:1", "docker.io/me/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("127.0.0.1:5000/a/b:x_1", "127.0.0.1:5000/a/b:x_1"),
            ("docker.io/python", "docker.io/library/python:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn a_digest_needs_no_tag() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("reg.example/a@{digest}").parse().unwrap();
        assert_eq!((reference.tag.clone(), reference.manifest_name()), (None, digest.to_string()));
    }

    #[test]
    fn credentials_are_not_shown() {
        for text in ["u:hunter2@reg.example:5000/x:1", "docker://u:hunter2@reg.example/x", "a@b:hunter2@c"] {
            assert!(!without_credentials(text).contains("hunter2"), "{text}");
            assert!(!text.parse::<Reference>().unwrap_err().to_string().contains("hunter2"), "{text}");
        }
        let digest = format!("reg.example/a:1@{}", Digest::of(b"x"));
        assert_eq!(without_credentials(&digest), digest);
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["", "A/b", "a//b", "a:-x", "a@sha256:1", "a b", "/a", "a/", "reg.example:5000/"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
