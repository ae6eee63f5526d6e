//! What a repository has at one commit.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::HubError;
use super::pattern::Patterns;
use super::repository::{Commit, Repository};
use crate::oci::digest::Digest;

/// A model as users ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub repository: Repository,
    /// A branch, a tag, or a commit.
    pub revision: String,
    /// Which of its files.
    pub patterns: Patterns,
}

/// The wanted files of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The repository, as the hub writes its name.
    pub repository: Repository,
    /// The commit.
    pub commit: Commit,
    /// The files by path, each path relative and below its directory.
    pub files: Vec<HubFile>,
}

impl Snapshot {
    /// Refuses files that have no place below a directory.
    pub fn check(&self) -> Result<(), HubError> {
        checked(&self.repository, self.files.clone()).map(|_| ())
    }

    /// Bytes of all files; a content that several files have counts once.
    pub fn size(&self) -> u64 {
        let contents: BTreeMap<_, _> = self.files.iter().map(|file| (file.content, file.size)).collect();
        contents.values().sum()
    }
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// Its path in the repository.
    pub path: String,
    /// Bytes that it has.
    pub size: u64,
    /// What is in it.
    pub content: ContentId,
}

impl HubFile {
    /// Where the link of the file leads, in a cache: up to the repository's directory and down to the contents.
    pub fn link_target(&self) -> String {
        format!("{}../../blobs/{}", "../".repeat(self.path.matches('/').count()), self.content)
    }
}

/// What the hub says of a content: for large files their SHA-256, for those that git itself keeps their git name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ContentId {
    /// SHA-256 of the content.
    Sha256(Digest),
    /// SHA-1 of `blob LENGTH\0` and the content.
    Git([u8; 20]),
}

impl ContentId {
    /// The content of that name in a cache: 64 hexadecimal digits, or 40.
    pub fn new(hex: &str) -> Option<Self> {
        if hex.len() == 64 {
            return format!("sha256:{hex}").parse().ok().map(Self::Sha256);
        }
        let digits = Commit::new(hex)?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_str().as_bytes().as_chunks::<2>().0) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self::Git(bytes))
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => formatter.write_str(&digest.hex()),
            Self::Git(bytes) => bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}")),
        }
    }
}

impl From<ContentId> for String {
    fn from(content: ContentId) -> Self {
        content.to_string()
    }
}

impl TryFrom<String> for ContentId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("`{text}` is no name of a content"))
    }
}

/// Puts the files of a hub's listing in order, and refuses what has no place below a directory.
pub(super) fn checked(repository: &Repository, mut files: Vec<HubFile>) -> Result<Vec<HubFile>, HubError> {
    let refuse = |path: &str, reason| HubError::Listing {
        repository: repository.clone(),
        path: path.to_owned(),
        reason,
    };
    files.sort_by(|one, other| one.path.cmp(&other.path));
    for file in &files {
        let path = file.path.as_str();
        if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse(path, "it is no path below the repository"));
        }
        if path.split('/').any(|part| part.starts_with(".wh.")) {
            return Err(refuse(path, "names that begin with `.wh.` mean something else in images"));
        }
    }
    // Byte order alone does not put `a/b` next to `a`: `a-b` stands between them.
    let paths: std::collections::BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    if paths.len() < files.len() {
        let twice = files.windows(2).find(|pair| pair[0].path == pair[1].path);
        return Err(refuse(twice.map_or("", |pair| &pair[0].path), "it is there twice"));
    }
    let above = |path: &str| path.match_indices('/').any(|(index, _)| paths.contains(&path[..index]));
    match files.iter().find(|file| above(&file.path)) {
        Some(file) => Err(refuse(&file.path, "it is below a file")),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        Repository { endpoint: "http://hub".to_owned(), id: "org/name".parse().unwrap() }
    }

    fn file(path: &str) -> HubFile {
        HubFile { path: path.to_owned(), size: 1, content: ContentId::Git([7; 20]) }
    }

    #[test]
    fn contents_have_the_names_that_caches_give_them() {
        for hex in ["ab".repeat(32), "01".repeat(20)] {
            assert_eq!(ContentId::new(&hex).unwrap().to_string(), hex);
        }
        for text in ["", "main", "../../../etc/passwd", &"AB".repeat(32), &"zz".repeat(20)] {
            assert_eq!(ContentId::new(text), None, "{text}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\0b", "a/.wh.b"] {
            let error = checked(&repository(), vec![file("ok"), file(path)]).unwrap_err();
            assert!(matches!(error, HubError::Listing { .. }), "{path}: {error}");
        }
        for paths in [["a", "a"], ["a", "a/b"]] {
            let files = [file(paths[0]), file("a-b"), file(paths[1])];
            assert!(checked(&repository(), files.to_vec()).is_err(), "{paths:?}");
        }
        let files = checked(&repository(), vec![file("b"), file("a/..b"), file(".cache/x")]).unwrap();
        assert_eq!(
            files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            [".cache/x", "a/..b", "b"]
        );
    }

    #[test]
    fn a_content_counts_once() {
        let snapshot = Snapshot {
            repository: repository(),
            commit: Commit::new(&"0".repeat(40)).unwrap(),
            files: vec![file("a"), file("b")],
        };
        assert_eq!(snapshot.size(), 1);
    }
}
