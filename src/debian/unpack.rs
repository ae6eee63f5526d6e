//! The files of one package: where they go in the tree, and which of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::archive::Watch;
use super::control::Stanza;
use super::deb::{Control, Deb};
use super::error::{DebError, Error};
use super::lock::LockedPackage;
use crate::oci::tree::{Content, Entry, EntryKind, Owner, check_path};

/// Files up to this size are kept in memory: most are, and a file on disk costs more than its bytes.
const INLINE_LIMIT: u64 = 32 << 10;
/// Most entries of one package.
const ENTRY_LIMIT: u64 = 1_000_000;
/// Directories that are links into `/usr` in a merged system (`base-files` since Debian 12).
pub(super) const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];
/// Directories that have been links for longer: what packages ship below them goes to where they lead.
const MOVED: [(&str, &str); 2] = [("var/lock", "run/lock"), ("var/run", "run")];
/// What a container has no use for: manuals, translations, package checks. Licences are kept, as they ask for.
const EXCLUDED: [&str; 10] = [
    "usr/share/bug/",
    "usr/share/doc-base/",
    "usr/share/doc/",
    "usr/share/groff/",
    "usr/share/info/",
    "usr/share/linda/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/menu/",
];

/// Whether `/bin`, `/lib` and so on are links into `/usr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsrLayout {
    /// They are links: nothing may be put in their place.
    Merged,
    /// They are directories.
    Split,
}

/// A package taken apart.
pub(super) struct Unpacked {
    pub(super) control: Control,
    pub(super) entries: Vec<(String, Entry)>,
}

/// Unpacks a package; large files go to `staging`, a directory of this package alone.
pub(super) fn unpack(
    path: &Path,
    package: &LockedPackage,
    layout: UsrLayout,
    staging: &Path,
    watch: Watch<'_>,
) -> Result<Unpacked, Error> {
    let failed = |source| Error::Unpack { package: package.name.clone(), source };
    let deb = Deb::open(path).map_err(failed)?;
    let control = deb.control().map_err(failed)?;
    check_identity(&control, package).map_err(failed)?;
    let mut unpacker = Unpacker { layout, staging, staged: 0, entries: BTreeMap::new(), links: Vec::new() };
    let mut archive = tar::Archive::new(deb.data().map_err(failed)?);
    let entries = archive.entries().map_err(|error| failed(error.into()))?;
    let mut count = 0;
    for entry in entries {
        watch.interrupt.check()?;
        let mut entry = entry.map_err(|error| failed(error.into()))?;
        count += 1;
        if count > ENTRY_LIMIT {
            return Err(failed(DebError::TooLarge { limit: ENTRY_LIMIT }));
        }
        unpacker.entry(&mut entry).map_err(|stopped| stopped.into_error(package))?;
    }
    let entries = unpacker.finish().map_err(failed)?;
    Ok(Unpacked { control, entries })
}

/// Why an entry could not be unpacked: the package's fault, or the disk's.
enum Stopped {
    Deb(DebError),
    Disk(Error),
}

impl<E: Into<DebError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Deb(error.into())
    }
}

impl Stopped {
    fn into_error(self, package: &LockedPackage) -> Error {
        match self {
            Self::Deb(source) => Error::Unpack { package: package.name.clone(), source },
            Self::Disk(error) => error,
        }
    }
}

struct Unpacker<'a> {
    layout: UsrLayout,
    staging: &'a Path,
    staged: usize,
    entries: BTreeMap<String, Entry>,
    links: Vec<(String, String)>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Stopped> {
        let path = text(&entry.path_bytes())?;
        let Some(path) = self.place(&path)? else { return Ok(()) };
        let header = entry.header();
        let owner = Owner { uid: id(header.uid()?)?, gid: id(header.gid()?)? };
        let mode = header.mode()? & 0o7777;
        let kind = header.entry_type();
        let target = entry.link_name_bytes().map(|bytes| text(&bytes)).transpose()?;
        let is_directory = kind.is_dir();
        if is_excluded(&path, is_directory) {
            return Ok(());
        }
        let entry = match (kind, target) {
            (tar::EntryType::Directory, _) => Entry { kind: EntryKind::Directory, mode, owner },
            (tar::EntryType::Symlink, Some(target)) => Entry::symlink(target, owner),
            (tar::EntryType::Link, Some(target)) => {
                let target = self.place(&target)?.unwrap_or_default();
                self.links.push((path, target));
                return Ok(());
            }
            (tar::EntryType::Regular | tar::EntryType::Continuous, _) => {
                let size = entry.size();
                Entry { kind: EntryKind::File(self.content(entry, size, mode)?), mode, owner }
            }
            _ => return Err(DebError::Kind { path }.into()),
        };
        self.entries.insert(path, entry);
        Ok(())
    }

    /// The path in the tree of a path in the package; nothing for the root, and for what the links are.
    fn place(&self, path: &str) -> Result<Option<String>, DebError> {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        if path.is_empty() || path == "." {
            return Ok(None);
        }
        check_path(path)?;
        let first = path.split('/').next().unwrap_or_default();
        if self.layout == UsrLayout::Merged && MERGED.contains(&first) {
            return Ok((first != path).then(|| format!("usr/{path}")));
        }
        for (from, to) in MOVED {
            match path.strip_prefix(from) {
                Some("") => return Ok(None),
                Some(rest) if rest.starts_with('/') => return Ok(Some(format!("{to}{rest}"))),
                _ => {}
            }
        }
        Ok(Some(path.to_owned()))
    }

    fn content(&mut self, entry: &mut impl Read, size: u64, mode: u32) -> Result<Content, Stopped> {
        if size <= INLINE_LIMIT {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(Content::Bytes(bytes.into()));
        }
        let path = self.staging.join(self.staged.to_string());
        self.staged += 1;
        copy(entry, &path, mode)?;
        Ok(Content::File { path, size })
    }

    /// Gives the bytes of hard-linked files to the first of their names, which a tar must have before the others.
    fn finish(mut self) -> Result<Vec<(String, Entry)>, DebError> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, target) in std::mem::take(&mut self.links) {
            groups.entry(target).or_default().push(path);
        }
        for (target, mut names) in groups {
            let Some(entry) = self.entries.remove(&target) else {
                return Err(DebError::HardLink { path: names.swap_remove(0), target });
            };
            names.push(target);
            names.sort_unstable();
            names.dedup();
            for name in &names[1..] {
                let link = Entry {
                    kind: EntryKind::HardLink(names[0].clone()),
                    mode: entry.mode,
                    owner: entry.owner,
                };
                self.entries.insert(name.clone(), link);
            }
            self.entries.insert(names[0].clone(), entry);
        }
        Ok(self.entries.into_iter().collect())
    }
}

/// Writes a staged file: one that programs can be run from, if it is one.
fn copy(from: &mut impl Read, path: &Path, mode: u32) -> Result<(), Stopped> {
    use std::os::unix::fs::OpenOptionsExt;
    let disk =
        |source: io::Error| Stopped::Disk(Error::File { action: "write", path: path.to_owned(), source });
    let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path).map_err(disk)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => file.write_all(&buffer[..count]).map_err(disk)?,
        }
    }
}

fn is_excluded(path: &str, is_directory: bool) -> bool {
    let below = |prefix: &&str| path.strip_prefix(*prefix).is_some_and(|rest| !rest.is_empty());
    if !EXCLUDED.iter().any(below) {
        return false;
    }
    let Some(rest) = path.strip_prefix("usr/share/doc/") else { return true };
    // Packages of one source often share a directory, by a link; directories appear when something is in them.
    is_directory || (rest.contains('/') && !rest.ends_with("/copyright"))
}

fn check_identity(control: &Control, package: &LockedPackage) -> Result<(), DebError> {
    let stanza = Stanza::first(&control.stanza).ok_or(DebError::Member("control"))?;
    let (name, version) = (stanza.field("Package").unwrap_or("?"), stanza.field("Version").unwrap_or("?"));
    if (name, version) == (&package.name, &package.version) {
        return Ok(());
    }
    Err(DebError::Identity { found: format!("{name} {version}") })
}

fn text(bytes: &[u8]) -> Result<String, DebError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| DebError::Encoding(String::from_utf8_lossy(bytes).into_owned()))
}

fn id(number: u64) -> Result<u32, DebError> {
    u32::try_from(number).map_err(|_| io::Error::other("an owner's number is too large").into())
}

/// Makes the staging directory of a package anew.
pub(super) fn staging(scratch: &Path, package: &LockedPackage) -> Result<PathBuf, Error> {
    let path = scratch.join(&package.name);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file("remove", &path)(error));
        }
        _ => fs::create_dir_all(&path).map_err(Error::file("create", &path))?,
    }
    Ok(path)
}
