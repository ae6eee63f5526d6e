//! Release files: which package lists an archive has, by digest, and until when they hold.

use std::collections::BTreeMap;

use super::control::Stanza;
use super::error::Error;
use crate::oci::digest::Digest;

/// A verified release file.
#[derive(Debug)]
pub(super) struct Release {
    files: BTreeMap<String, File>,
    /// Whether files can be had by their digest, which does not race with the mirror's updates.
    pub(super) has_digest_names: bool,
    names: Vec<String>,
    valid_until: Option<String>,
    subject: String,
}

/// A file that a release names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Release {
    /// Reads the text of the release file at `subject`.
    pub(super) fn parse(text: &str, subject: &str) -> Result<Self, Error> {
        let malformed = |what| Error::Document { subject: subject.to_owned(), what };
        let stanza = Stanza::first(text).ok_or_else(|| malformed("stanza"))?;
        let field = |name| stanza.field(name).map(str::to_owned);
        let mut files = BTreeMap::new();
        for line in stanza.field("SHA256").ok_or_else(|| malformed("list of digests"))?.lines() {
            let file = file(line).ok_or_else(|| malformed("list of digests"))?;
            files.insert(file.0, file.1);
        }
        Ok(Self {
            files,
            has_digest_names: field("Acquire-By-Hash").is_some_and(|value| value == "yes"),
            names: ["Codename", "Suite"].into_iter().filter_map(field).collect(),
            valid_until: field("Valid-Until"),
            subject: subject.to_owned(),
        })
    }

    /// Refuses the release of another archive, which a mirror could pass off as the one asked for.
    pub(super) fn check_name(&self, archive: &str) -> Result<(), Error> {
        if self.names.iter().any(|name| name == archive) {
            return Ok(());
        }
        Err(Error::Document { subject: self.subject.clone(), what: "name of the suite asked for" })
    }

    /// Refuses a release that is no longer valid at `now` (seconds since the epoch).
    pub(super) fn check_date(&self, now: u64) -> Result<(), Error> {
        let Some(text) = &self.valid_until else { return Ok(()) };
        let malformed = || Error::Document { subject: self.subject.clone(), what: "date" };
        // Release files say `UTC`, which the form of dates has no name for (RFC 5322, 4.3).
        let date = jiff::fmt::rfc2822::parse(&text.replace("UTC", "+0000")).map_err(|_| malformed())?;
        let until = u64::try_from(date.timestamp().as_second()).map_err(|_| malformed())?;
        if now <= until {
            return Ok(());
        }
        Err(Error::Expired { subject: self.subject.clone(), until: text.clone() })
    }

    /// A file by its path in the archive.
    pub(super) fn file(&self, path: &str) -> Option<File> {
        self.files.get(path).copied()
    }
}

fn file(line: &str) -> Option<(String, File)> {
    let mut words = line.split_whitespace();
    let digest = format!("sha256:{}", words.next()?).parse().ok()?;
    let size = words.next()?.parse().ok()?;
    Some((words.next()?.to_owned(), File { digest, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn release(rest: &str) -> Result<Release, Error> {
        let text =
            format!("Suite: oldstable\nCodename: bookworm\n{rest}SHA256:\n {EMPTY} 7 main/Packages.xz\n");
        Release::parse(&text, "InRelease")
    }

    #[test]
    fn files_and_names_are_found() {
        let release = release("Acquire-By-Hash: yes\n").unwrap();
        assert_eq!(release.file("main/Packages.xz").unwrap().size, 7);
        assert_eq!(release.file("main/Packages"), None);
        assert!(release.has_digest_names);
        assert!(release.check_name("bookworm").is_ok());
        let error = release.check_name("trixie").unwrap_err();
        assert_eq!(error.to_string(), "`InRelease` has no usable name of the suite asked for");
    }

    #[test]
    fn old_releases_are_refused() {
        let release = release("Valid-Until: Sat, 29 Nov 2025 20:15:00 UTC\n").unwrap();
        assert!(release.check_date(1_764_447_300).is_ok());
        let error = release.check_date(1_764_447_301).unwrap_err();
        assert_eq!(error.to_string(), "`InRelease` was valid only until Sat, 29 Nov 2025 20:15:00 UTC");
    }

    #[test]
    fn malformed_releases_are_refused() {
        assert!(Release::parse("Suite: a\n", "x").is_err());
        assert!(Release::parse("SHA256:\n zz 1 a\n", "x").is_err());
        assert!(release("Valid-Until: tomorrow\n").unwrap().check_date(0).is_err());
    }
}
