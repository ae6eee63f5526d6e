//! What an item holds, as one tar that exists only while it is sent.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::error::CloudError;
use crate::archive::{Contents, Item, ItemKind};
use crate::fs::FsError;
use crate::oci::blob::Blob;
use crate::oci::digest::Digest;
use crate::oci::json::canonical;
use crate::oci::tar::VirtualTar;
use crate::oci::tree::{Content, Entry, EntryKind, Owner};

/// A tar that does not exist yet.
#[derive(Clone, Debug)]
pub struct Tarball {
    pub(super) blob: Arc<dyn Blob>,
    pub(super) fingerprint: Digest,
}

/// What tells whether a file changed since it was listed.
#[derive(Serialize)]
struct Stamp<'a> {
    name: &'a str,
    /// Where a link leads.
    target: &'a str,
    size: u64,
    mode: u32,
    modified: (i64, u32),
    inode: u64,
}

impl Tarball {
    /// The tar of these contents. No file is read before it is sent.
    ///
    /// The names begin with `./`, as those of the original tool.
    pub fn new(contents: &Contents) -> Result<Self, CloudError> {
        let mut members = Vec::new();
        let mut prints = Vec::new();
        for item in contents.items() {
            let name = if item.path.is_empty() { ".".to_owned() } else { format!("./{}", item.path) };
            let inode = match item.kind {
                ItemKind::File { source, .. } => {
                    source.metadata().map_err(FsError::of("read", source))?.ino()
                }
                _ => 0,
            };
            let (kind, target) = kind(&item);
            prints.push(Digest::of(&canonical(&Stamp {
                name: &name,
                target,
                size: size(&kind),
                mode: item.mode,
                modified: item.modified,
                inode,
            })));
            let entry = Entry { kind, mode: item.mode, owner: Owner::ROOT };
            members.push((name, entry, u64::try_from(item.modified.0).unwrap_or_default()));
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

/// What a member is in a tar, and where it leads if it is a link.
fn kind<'a>(item: &Item<'a>) -> (EntryKind, &'a str) {
    match item.kind {
        ItemKind::Directory => (EntryKind::Directory, ""),
        ItemKind::File { source, size } => {
            (EntryKind::File(Content::File { path: source.to_owned(), size }), "")
        }
        ItemKind::Bytes(bytes) => (EntryKind::File(Content::Bytes(Bytes::copy_from_slice(bytes))), ""),
        ItemKind::Symlink(target) => (EntryKind::Symlink(target.to_owned()), target),
    }
}

fn size(kind: &EntryKind) -> u64 {
    match kind {
        EntryKind::File(content) => content.size(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;
    use crate::archive::LinksOut;
    use crate::report::Interrupt;

    fn contents(root: &Path) -> Contents {
        Contents::of_directory(root, LinksOut::Followed, &Interrupt::default()).unwrap()
    }

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
        let mut contents = contents(&root);
        contents.remove("models");
        let tarball = Tarball::new(&contents).unwrap();
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
        let print = || Tarball::new(&contents(directory.path())).unwrap().fingerprint;
        let before = print();
        assert_eq!(before, print());
        fs::write(directory.path().join("a"), "two").unwrap();
        let changed = print();
        assert_ne!(before, changed);
        // A link is read without what it leads to: only its text tells that it is another.
        symlink("a", directory.path().join("link")).unwrap();
        let linked = print();
        fs::remove_file(directory.path().join("link")).unwrap();
        symlink("b", directory.path().join("link")).unwrap();
        assert_ne!(linked, print());
    }
}
