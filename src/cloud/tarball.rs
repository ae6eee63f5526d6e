//! What an item holds, as one tar that exists only while it is sent.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use serde::Serialize;

use super::error::CloudError;
use crate::fs::FsError;
use crate::oci::blob::Blob;
use crate::oci::digest::Digest;
use crate::oci::json::canonical;
use crate::oci::tar::VirtualTar;
use crate::oci::tree::{Content, Entry, EntryKind, Owner};

/// The tar of a directory.
#[derive(Clone, Debug)]
pub struct Tarball {
    pub(super) blob: Arc<dyn Blob>,
    pub(super) fingerprint: Digest,
}

/// What tells whether a file changed since it was listed.
#[derive(Serialize)]
struct Stamp<'a> {
    name: &'a str,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    inode: u64,
}

impl Tarball {
    /// Lists a directory, but for what stands in its top level under `left_out`. No file is read before it is sent.
    ///
    /// The names begin with `./`, as those of the original tool. Links stay links where they lead to a place inside,
    /// and become the file they lead to otherwise.
    pub fn of_directory(root: &Path, left_out: Option<&str>) -> Result<Self, CloudError> {
        let mut members = Vec::new();
        let mut prints = Vec::new();
        let is_kept = |entry: &walkdir::DirEntry| {
            entry.depth() != 1 || left_out.is_none_or(|name| entry.file_name() != name)
        };
        for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_kept) {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(root).to_owned();
                FsError { action: "list", path, source: error.into() }
            })?;
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap_or(path).to_str();
            let relative = relative.ok_or_else(|| unfit(path, "its name is not UTF-8"))?;
            let name = if relative.is_empty() { ".".to_owned() } else { format!("./{relative}") };
            let (member, metadata) = member(root, path)?;
            prints.push(Digest::of(&canonical(&Stamp {
                name: &name,
                size: metadata.len(),
                mode: metadata.mode(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                inode: metadata.ino(),
            })));
            members.push((name, member, u64::try_from(metadata.mtime()).unwrap_or_default()));
        }
        let tar =
            VirtualTar::of_members(members.iter().map(|(name, entry, time)| (name.as_str(), entry, *time)));
        Ok(Self { blob: Arc::new(tar), fingerprint: Digest::of(&canonical(&prints)) })
    }

    /// Its size.
    pub fn size(&self) -> u64 {
        self.blob.size()
    }
}

fn member(root: &Path, path: &Path) -> Result<(Entry, fs::Metadata), CloudError> {
    let mut metadata = path.symlink_metadata().map_err(FsError::of("read", path))?;
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(FsError::of("read", path))?;
        let below = path.strip_prefix(root).unwrap_or(path);
        if leads_inside(below, &target) {
            let target = target.to_str().ok_or_else(|| unfit(path, "its target is not UTF-8"))?;
            return Ok((Entry::symlink(target, Owner::ROOT), metadata));
        }
        metadata = path.metadata().map_err(FsError::of("read", path))?;
        if !metadata.is_file() {
            return Err(unfit(path, "it is a link that leads out of the item"));
        }
    }
    let kind = if metadata.is_dir() {
        EntryKind::Directory
    } else if metadata.is_file() {
        EntryKind::File(Content::File { path: path.to_owned(), size: metadata.len() })
    } else {
        return Err(unfit(path, "it is neither a file nor a directory"));
    };
    Ok((Entry { kind, mode: metadata.mode() & 0o777, owner: Owner::ROOT }, metadata))
}

/// Whether a link at a path below the root stays below it, by its text alone.
fn leads_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for step in target.components() {
        match step {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

fn unfit(path: &Path, reason: &'static str) -> CloudError {
    CloudError::Unfit { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn names_modes_and_links_are_those_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("item");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(root.join("models")).unwrap();
        fs::write(root.join("models/left-out"), "").unwrap();
        fs::write(root.join("sub/.wh.any"), "abc").unwrap();
        fs::set_permissions(root.join("sub/.wh.any"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(directory.path().join("outside"), "out").unwrap();
        symlink("sub/.wh.any", root.join("inside")).unwrap();
        symlink("../outside", root.join("outward")).unwrap();
        let tarball = Tarball::of_directory(&root, Some("models")).unwrap();
        let mut bytes = Vec::new();
        tarball.blob.open_at(0).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, tarball.size());
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.to_string_lossy().into_owned());
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            seen.push((name, entry.header().mode().unwrap(), content, link));
        }
        let file = |name: &str, mode, content: &str| (name.to_owned(), mode, content.to_owned(), None);
        assert_eq!(seen[0].0, "./");
        assert_eq!(
            seen[1..],
            [
                ("./inside".into(), 0o777, String::new(), Some("sub/.wh.any".into())),
                file("./outward", 0o644, "out"),
                file("./sub/", 0o755, ""),
                file("./sub/.wh.any", 0o640, "abc"),
            ]
        );
    }

    #[test]
    fn a_changed_file_is_another_tarball() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "one").unwrap();
        let print = || Tarball::of_directory(directory.path(), None).unwrap().fingerprint;
        let before = print();
        assert_eq!(before, print());
        fs::write(directory.path().join("a"), "two").unwrap();
        assert_ne!(before, print());
    }
}
