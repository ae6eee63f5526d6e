//! Where an archive is or goes, as typed on the command line.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::ArchivesError;
use super::export::ExportForm;
use crate::archive::Format;
use crate::remote::Location;
use crate::store::Kind;
use crate::tag::Tag;

/// What stands for standard input and output.
const STANDARD: &str = "-";

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard input or output.
    Standard,
    /// A path here.
    Local(PathBuf),
    /// A place on another machine.
    Remote(Location),
}

impl Place {
    /// Reads what was typed. URLs of local files are paths.
    pub fn parse(typed: &str) -> Result<Self, ArchivesError> {
        if typed == STANDARD {
            return Ok(Self::Standard);
        }
        // The original tool takes the last three for files, too.
        if let Some(("file" | "osfs" | "tar" | "zip", path)) = typed.split_once("://") {
            return Ok(Self::Local(path.into()));
        }
        match Location::parse(typed) {
            Some(location) => Ok(Self::Remote(location?)),
            None => Ok(Self::Local(typed.into())),
        }
    }
}

/// The place as messages may name it: URLs carry secrets.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str(STANDARD),
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(location) => location.fmt(f),
        }
    }
}

/// What the end of file names says of native archives.
pub(super) fn native_suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Model => "bentomodel",
        Kind::Bento => "bento",
    }
}

/// The name of what is exported, and its form: the form asked for, else the one of the name's last extension, else the
/// native one, whose extension is then added.
///
/// `path` names a directory when it is empty, ends in `/`, or `is_directory` says so.
pub(super) fn target_name(
    path: &str,
    is_directory: bool,
    form: Option<ExportForm>,
    kind: Kind,
    tag: &Tag,
) -> (String, ExportForm) {
    let native = native_suffix(kind);
    if path.is_empty() || path.ends_with('/') || is_directory {
        let form = form.unwrap_or(ExportForm::Native);
        let suffix = match form {
            ExportForm::Native => format!(".{native}"),
            ExportForm::Archive(format) => format!(".{}", format.suffix()),
            ExportForm::Folder => String::new(),
        };
        let separator = if path.is_empty() || path.ends_with('/') { "" } else { "/" };
        return (format!("{path}{separator}{}-{}{suffix}", tag.name(), tag.version()), form);
    }
    let guessed = || Format::of_name(path).map_or(ExportForm::Native, ExportForm::Archive);
    let form = form.unwrap_or_else(guessed);
    let extension = Path::new(path).extension();
    if form == ExportForm::Native && extension.is_none_or(|extension| extension != native) {
        return (format!("{path}.{native}"), form);
    }
    (path.to_owned(), form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(path: &str, is_directory: bool, form: Option<ExportForm>) -> (String, ExportForm) {
        target_name(path, is_directory, form, Kind::Model, &Tag::new("iris", "v1").unwrap())
    }

    #[test]
    fn names_follow_the_rules_of_the_original_tool() {
        let native = ExportForm::Native;
        let archive = ExportForm::Archive;
        for (path, is_directory, form, name, expected) in [
            ("", false, None, "iris-v1.bentomodel", native),
            ("out/", false, None, "out/iris-v1.bentomodel", native),
            ("out", true, None, "out/iris-v1.bentomodel", native),
            ("out", false, None, "out.bentomodel", native),
            ("x.bentomodel", false, None, "x.bentomodel", native),
            ("x.weird", false, None, "x.weird.bentomodel", native),
            ("x.tgz", false, None, "x.tgz.bentomodel", native),
            ("x.bento", false, None, "x.bento.bentomodel", native),
            ("x.tar.gz", false, None, "x.tar.gz", archive(Format::Gzip)),
            ("x.zst", false, None, "x.zst", archive(Format::Zstd)),
            ("x.zip", true, None, "x.zip/iris-v1.bentomodel", native),
            ("x.bin", false, Some(archive(Format::Tar)), "x.bin", archive(Format::Tar)),
            ("out/", false, Some(archive(Format::Zstd)), "out/iris-v1.tar.zst", archive(Format::Zstd)),
            ("out", true, Some(ExportForm::Folder), "out/iris-v1", ExportForm::Folder),
            ("out", false, Some(ExportForm::Folder), "out", ExportForm::Folder),
        ] {
            assert_eq!(named(path, is_directory, form), (name.to_owned(), expected), "{path}");
        }
    }

    #[test]
    fn what_looks_like_a_url_is_one() {
        assert_eq!(Place::parse("-").unwrap(), Place::Standard);
        assert_eq!(Place::parse("a:b/c").unwrap(), Place::Local("a:b/c".into()));
        assert_eq!(Place::parse("file:///a/b").unwrap(), Place::Local("/a/b".into()));
        let error = Place::parse("gopher://host/x").unwrap_err();
        assert!(error.to_string().starts_with("Unknown or unsupported protocol gopher."), "{error}");
    }

    proptest! {
        #[test]
        fn the_name_keeps_what_was_typed_and_is_never_a_directory(path in "[a-z./]{0,12}", is_directory: bool) {
            let (name, form) = named(&path, is_directory, None);
            prop_assert!(name.starts_with(&path));
            prop_assert!(!name.ends_with('/'));
            prop_assert_eq!(form == ExportForm::Native, name.ends_with(".bentomodel"));
        }
    }
}
