//! Names at a hub: repositories, and the commits of their history.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tag::{self, Tag};

/// Longest part of a repository's name (`huggingface_hub`, `validate_repo_id`).
const MAX_PART: usize = 96;
/// What stands for a slash in the names of directories.
const SEPARATOR: &str = "--";
/// Hexadecimal digits of a commit.
const COMMIT_DIGITS: usize = 40;

/// The name of a repository: `organisation/name`, or `name` for the oldest ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryId(String);

/// A text does not name a repository.
#[derive(Debug, Error)]
#[error("`{text}` is no name of a repository: {reason}")]
pub struct ParseRepositoryError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for RepositoryId {
    type Err = ParseRepositoryError;

    fn from_str(text: &str) -> Result<Self, ParseRepositoryError> {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let parts: Vec<&str> = text.split('/').collect();
        let reason = if parts.iter().any(|part| part.len() > MAX_PART) {
            "none of its parts has more than 96 characters"
        } else if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
            "it is neither `name` nor `organisation/name`"
        } else if !parts.iter().all(|part| part.chars().all(is_letter)) {
            "only letters, digits, `-`, `_` and `.` may be in it"
        } else if parts.iter().any(|part| part.starts_with(['-', '.']) || part.ends_with(['-', '.'])) {
            "its parts neither begin nor end with `-` or `.`"
        } else if text.contains(SEPARATOR) || text.contains("..") {
            "neither `--` nor `..` may be in it"
        } else if text.strip_suffix(".git").is_some() {
            "it must not end with `.git`"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(ParseRepositoryError { text: text.to_owned(), reason })
    }
}

impl TryFrom<String> for RepositoryId {
    type Error = ParseRepositoryError;

    fn try_from(text: String) -> Result<Self, ParseRepositoryError> {
        text.parse()
    }
}

impl From<RepositoryId> for String {
    fn from(id: RepositoryId) -> Self {
        id.0
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl RepositoryId {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory of the repository in a cache.
    pub fn directory(&self) -> String {
        format!("models{SEPARATOR}{}", self.0.replace('/', SEPARATOR))
    }

    /// The repository whose directory has that name.
    pub fn of_directory(name: &str) -> Option<Self> {
        name.strip_prefix("models--")?.replace(SEPARATOR, "/").parse().ok()
    }

    /// The name that its models have in a bento. Where the original tool would have to refuse, because it is too long, or
    /// begins or ends with a character that no name begins or ends with, what is left out stands as digits of `digest` instead.
    pub fn model_name(&self, digest: &str) -> String {
        let name = self.0.to_lowercase().replace('/', SEPARATOR);
        if Tag::new(&name, "1").is_ok() {
            return name;
        }
        let digest = &digest[..digest.len().min(8)];
        let kept = name.chars().take(tag::MAX_LENGTH - digest.len() - 1).collect::<String>();
        match kept.trim_matches(['-', '_', '.']) {
            "" => format!("model-{digest}"),
            kept => format!("{kept}-{digest}"),
        }
    }
}

/// A repository of one hub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    /// The hub: scheme and host, without a slash at its end.
    pub endpoint: String,
    /// Its name there.
    pub id: RepositoryId,
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(formatter)
    }
}

/// The hash of a commit: what a snapshot is, for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Commit(String);

impl TryFrom<String> for Commit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("`{text}` is no commit"))
    }
}

impl Commit {
    /// The commit of that hash, if the text is one.
    pub fn new(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == COMMIT_DIGITS && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// Its 40 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_hubs_have() {
        for text in ["gpt2", "org/name", "Org/Name_v1.5-x", "a/b"] {
            let id: RepositoryId = text.parse().unwrap();
            assert_eq!(RepositoryId::of_directory(&id.directory()), Some(id));
        }
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "a b",
            "a--b",
            "a/..",
            "-a",
            "a.",
            "x.git",
            "ä/b",
            "a\n",
            &"a".repeat(97),
        ] {
            assert!(text.parse::<RepositoryId>().is_err(), "{text}");
        }
        assert_eq!(RepositoryId::of_directory("datasets--a--b"), None);
    }

    #[test]
    fn every_repository_has_a_model_name() {
        let name = |text: &str| text.parse::<RepositoryId>().unwrap().model_name("0123456789abcdef");
        assert_eq!(name("Org/My-Model"), "org--my-model");
        let long = format!("org/{}", "x".repeat(80));
        assert_eq!(name(&long), format!("org--{}-01234567", "x".repeat(49)));
        assert_eq!(name("org/ends_"), "org--ends-01234567");
        for text in [long.as_str(), "org/ends_", "_x/_"] {
            assert!(Tag::new(&name(text), "1").is_ok(), "{text}: {}", name(text));
        }
    }

    #[test]
    fn a_commit_is_forty_digits() {
        assert!(Commit::new(&"0a".repeat(20)).is_some());
        for text in ["main", &"0A".repeat(20), &"0a".repeat(19), "../../etc"] {
            assert_eq!(Commit::new(text), None);
        }
    }
}
