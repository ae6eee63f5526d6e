//! The packages of a suite, as its verified package lists have them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use super::control::{Stanza, stanzas};
use super::error::Error;
use super::lock::LockedPackage;
use super::relation::{self, Dependency};
use super::request::{Provided, provided};
use super::version;
use crate::oci::digest::Digest;

/// The fields of a package list that are kept; the others are half of its size.
const KEPT_FIELDS: [&str; 9] = [
    "Package",
    "Version",
    "Architecture",
    "Depends",
    "Pre-Depends",
    "Provides",
    "Filename",
    "Size",
    "SHA256",
];
/// The field that begins the packages of one archive in the kept form.
const ARCHIVE_FIELD: &str = "Archive";
/// Most names that are suggested for an unknown one.
const SUGGESTIONS: usize = 3;

/// The packages of a suite with its updates and security fixes.
///
/// It keeps the text, and reads a package's stanza when the package is looked at.
pub(super) struct Index {
    text: String,
    stanzas: BTreeMap<String, Vec<Place>>,
    providers: BTreeMap<String, Vec<String>>,
}

/// Where a stanza is, and in which archive.
#[derive(Clone, Debug)]
struct Place {
    range: Range<usize>,
    archive: Range<usize>,
}

/// One version of a package that the suite has.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// What a lock says of it.
    pub package: LockedPackage,
    /// What it needs, first what it needs before it is unpacked.
    pub depends: Vec<Dependency>,
    /// The virtual packages it stands for.
    pub provides: Vec<Provided>,
}

impl Index {
    /// Reads the kept form.
    pub(super) fn parse(text: String) -> Result<Self, Error> {
        let mut index = Self { text: String::new(), stanzas: BTreeMap::new(), providers: BTreeMap::new() };
        let base = text.as_ptr() as usize;
        let range = |part: &str| {
            let start = part.as_ptr() as usize - base;
            start..start + part.len()
        };
        let mut archive = 0..0;
        for stanza in stanzas(&text) {
            let Some(name) = stanza.field("Package") else {
                archive = range(stanza.field(ARCHIVE_FIELD).ok_or_else(|| malformed("stanza"))?);
                continue;
            };
            if !relation::is_name(name) {
                return Err(malformed("package name"));
            }
            let place = Place { range: range(stanza.text()), archive: archive.clone() };
            index.stanzas.entry(name.to_owned()).or_default().push(place);
            for provided in provided(stanza) {
                index.providers.entry(provided.name).or_default().push(name.to_owned());
            }
        }
        for providers in index.providers.values_mut() {
            providers.sort_unstable();
            providers.dedup();
        }
        index.text = text;
        Ok(index)
    }

    /// The kept form.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The versions of a package, the latest first.
    pub(super) fn candidates(&self, name: &str) -> Result<Vec<Candidate>, Error> {
        let places = self.stanzas.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut candidates =
            places.iter().map(|place| self.candidate(place)).collect::<Result<Vec<_>, _>>()?;
        candidates.sort_by(|left, right| later_first(&left.package, &right.package));
        candidates.dedup_by(|left, right| left.package.version == right.package.version);
        Ok(candidates)
    }

    /// The names of the packages that stand for a virtual one.
    pub(super) fn providers(&self, name: &str) -> &[String] {
        self.providers.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names to suggest where `name` is not one.
    pub(super) fn similar(&self, name: &str) -> Vec<String> {
        let limit = (name.len() / 4).max(1);
        let mut found: Vec<_> = self
            .stanzas
            .keys()
            .filter(|other| other.len().abs_diff(name.len()) <= limit)
            .map(|other| (distance(name, other), other))
            .filter(|(distance, _)| *distance <= limit)
            .collect();
        found.sort();
        let near = found.into_iter().map(|(_, name)| name);
        let longer = self.stanzas.range(name.to_owned()..).map(|(other, _)| other);
        let longer = longer.take_while(|other| other.starts_with(name) && name.len() > 2);
        let mut names: Vec<String> = Vec::new();
        for candidate in near.chain(longer) {
            if names.len() < SUGGESTIONS && !names.contains(candidate) {
                names.push(candidate.clone());
            }
        }
        names
    }

    fn candidate(&self, place: &Place) -> Result<Candidate, Error> {
        let stanza = Stanza::first(&self.text[place.range.clone()]).ok_or_else(|| malformed("stanza"))?;
        let field = |name, what| stanza.field(name).ok_or_else(|| malformed(what));
        let mut depends = Vec::new();
        for name in ["Pre-Depends", "Depends"] {
            let field = stanza.field(name).unwrap_or_default();
            depends.extend(relation::parse(field).ok_or_else(|| malformed("dependencies"))?);
        }
        let filename = field("Filename", "file name")?;
        crate::oci::tree::check_path(filename).map_err(|_| malformed("file name"))?;
        let digest = format!("sha256:{}", field("SHA256", "digest")?);
        let package = LockedPackage {
            name: field("Package", "package name")?.to_owned(),
            version: field("Version", "version")?.to_owned(),
            architecture: field("Architecture", "architecture")?.to_owned(),
            archive: self.text[place.archive.clone()].to_owned(),
            filename: filename.to_owned(),
            size: field("Size", "size")?.parse().map_err(|_| malformed("size"))?,
            digest: digest.parse::<Digest>().map_err(|_| malformed("digest"))?,
        };
        Ok(Candidate { package, depends, provides: provided(stanza) })
    }
}

/// Brings the package list of one archive into the kept form, at the end of `kept`.
pub(super) fn keep(archive: &str, list: &str, kept: &mut String) {
    for part in ["\n", ARCHIVE_FIELD, ": ", archive, "\n"] {
        kept.push_str(part);
    }
    let mut is_kept = false;
    for line in list.lines() {
        if line.is_empty() {
            kept.push('\n');
            is_kept = false;
            continue;
        }
        if !line.starts_with([' ', '\t']) {
            if is_package(line) {
                kept.push('\n');
            }
            is_kept = is_kept_field(line);
        }
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
    }
}

/// Whether the line begins a package; lists end their stanzas with an empty line, but the first follows our own line.
fn is_package(line: &str) -> bool {
    line.starts_with("Package:")
}

fn is_kept_field(line: &str) -> bool {
    let name = line.split_once(':').map_or("", |(name, _)| name);
    KEPT_FIELDS.iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

/// Latest version first; of one version in two archives, the archive with the first name.
fn later_first(left: &LockedPackage, right: &LockedPackage) -> Ordering {
    version::compare(&right.version, &left.version).then_with(|| left.archive.cmp(&right.archive))
}

fn malformed(what: &'static str) -> Error {
    Error::Document { subject: "Packages".to_owned(), what }
}

/// Number of single-letter edits between two names.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn list(packages: &[(&str, &str, &str)]) -> String {
        let stanza = |(name, version, rest): &(&str, &str, &str)| {
            format!(
                "Package: {name}\nVersion: {version}\nDescription: x\n more\nArchitecture: all\n\
                 Filename: pool/{name}.deb\nSize: 0\nSHA256: {EMPTY}\n{rest}\n"
            )
        };
        packages.iter().map(stanza).collect()
    }

    #[test]
    fn the_latest_version_of_all_archives_comes_first() {
        let mut kept = String::new();
        keep(
            "stable",
            &list(&[("aa", "1.0", "Depends: bb\n"), ("bb", "2", "Provides: vv (= 3)\n")]),
            &mut kept,
        );
        keep("security", &list(&[("aa", "1.0+1", "")]), &mut kept);
        let index = Index::parse(kept).unwrap();
        let found = index.candidates("aa").unwrap();
        let versions: Vec<_> =
            found.iter().map(|one| (one.package.version.as_str(), one.package.archive.as_str())).collect();
        assert_eq!(versions, [("1.0+1", "security"), ("1.0", "stable")]);
        assert_eq!(found[1].depends[0].to_string(), "bb");
        assert_eq!(index.providers("vv"), ["bb"]);
        assert!(!index.text().contains("Description"), "{}", index.text());
    }

    #[test]
    fn the_kept_form_of_the_kept_form_is_the_same() {
        let mut kept = String::new();
        keep("stable", &list(&[("aa", "1", "")]), &mut kept);
        let index = Index::parse(kept.clone()).unwrap();
        assert_eq!(Index::parse(index.text().to_owned()).unwrap().candidates("aa").unwrap().len(), 1);
    }

    #[test]
    fn malformed_lists_are_refused() {
        for (list, what) in [
            (list(&[("aa", "1", "")]).replace("pool/", "../"), "file name"),
            (list(&[("aa", "1", "")]).replace(EMPTY, "00"), "digest"),
            (list(&[("aa", "1", "")]).replace("Size: 0", "Size: -1"), "size"),
            (list(&[("aa", "1", "Depends: b (\n")]), "dependencies"),
        ] {
            let mut kept = String::new();
            keep("stable", &list, &mut kept);
            let error = Index::parse(kept).unwrap().candidates("aa").unwrap_err();
            assert!(matches!(&error, Error::Document { what: found, .. } if *found == what), "{error}");
        }
    }

    #[test]
    fn near_names_are_suggested() {
        let mut kept = String::new();
        keep(
            "stable",
            &list(&[("ffmpeg", "1", ""), ("libgl1", "1", ""), ("libgl1-mesa-dri", "1", "")]),
            &mut kept,
        );
        let index = Index::parse(kept).unwrap();
        assert_eq!(index.similar("fmpeg"), ["ffmpeg"]);
        assert_eq!(index.similar("libgl1-mesa"), ["libgl1-mesa-dri"]);
        assert!(index.similar("zzz").is_empty());
    }
}
