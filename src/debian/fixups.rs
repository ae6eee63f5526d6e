//! What the scripts of Debian's base packages would do in a new system, as data.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;

use super::assemble::User;
use super::error::Error;
use super::lock::Lock;
use crate::oci::tree::{Content, Entry, EntryKind, Owner, Tree, TreeError};

/// Directories that `base-files` makes in its script, and those without which a container does not start well.
const DIRECTORIES: [(&str, u32, u32); 22] = [
    ("dev", 0o755, 0),
    ("etc/opt", 0o755, 0),
    ("media", 0o755, 0),
    ("mnt", 0o755, 0),
    ("opt", 0o755, 0),
    ("proc", 0o755, 0),
    ("run", 0o755, 0),
    ("run/lock", 0o1777, 0),
    ("srv", 0o755, 0),
    ("sys", 0o755, 0),
    ("tmp", 0o1777, 0),
    ("usr/local/bin", 0o755, 0),
    ("usr/local/etc", 0o755, 0),
    ("usr/local/games", 0o755, 0),
    ("usr/local/include", 0o755, 0),
    ("usr/local/lib", 0o755, 0),
    ("usr/local/sbin", 0o755, 0),
    ("usr/local/share", 0o755, 0),
    ("usr/local/src", 0o755, 0),
    ("var/mail", 0o2775, 8),
    ("var/opt", 0o755, 0),
    ("var/tmp", 0o1777, 0),
];
/// Links that `base-files` and `tzdata` make in their scripts.
const LINKS: [(&str, &str); 5] = [
    ("etc/dpkg/origins/default", "debian"),
    ("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
    ("var/lock", "/run/lock"),
    ("var/run", "/run"),
    ("var/spool/mail", "../mail"),
];
/// Files that scripts copy from a template: the first template that there is.
const COPIES: [(&str, &[&str]); 7] = [
    ("etc/group", &["usr/share/base-passwd/group.master"]),
    ("etc/motd", &["usr/share/base-files/motd"]),
    ("etc/nsswitch.conf", &["usr/share/base-files/nsswitch.conf", "usr/share/libc-bin/nsswitch.conf"]),
    ("etc/passwd", &["usr/share/base-passwd/passwd.master"]),
    ("etc/profile", &["usr/share/base-files/profile"]),
    ("root/.bashrc", &["usr/share/base-files/dot.bashrc"]),
    ("root/.profile", &["usr/share/base-files/dot.profile"]),
];
/// The name services of a container, where no package has a template: files, then the network's.
const NSSWITCH: &str = "passwd:         files\ngroup:          files\nshadow:         files\n\
                        hosts:          files dns\nnetworks:       files\nprotocols:      db files\n\
                        services:       db files\nethers:         db files\nrpc:            db files\n";
/// Where `ca-certificates` has the certificates, and where it puts them together.
const CERTIFICATES: &str = "usr/share/ca-certificates/";
const CERTIFICATE_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// Links by which OpenSSL finds certificates; they belong to the package `openssl`, which is left out.
const SSL_LINKS: [(&str, &str); 4] = [
    ("usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt"),
    ("usr/lib/ssl/certs", "/etc/ssl/certs"),
    ("usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf"),
    ("usr/lib/ssl/private", "/etc/ssl/private"),
];
/// Most bytes of a file that is read into memory to be changed.
const FILE_LIMIT: u64 = 4 << 20;

/// Makes a tree of packages a system of its own.
pub(super) fn complete(tree: &mut Tree, lock: &Lock) -> Result<(), Error> {
    for (path, mode, gid) in DIRECTORIES {
        let entry = Entry { kind: EntryKind::Directory, mode, owner: Owner { uid: 0, gid } };
        insert_new(tree, path, entry)?;
    }
    for (path, templates) in COPIES {
        let template = templates.iter().find_map(|template| tree.get(template));
        if let Some(EntryKind::File(content)) = template.map(|entry| entry.kind.clone()) {
            insert_new(tree, path, Entry::file(content, 0o644, Owner::ROOT))?;
        }
    }
    insert_new(tree, "etc/nsswitch.conf", Entry::file(NSSWITCH.to_owned().into(), 0o644, Owner::ROOT))?;
    let has_zones = lock.version_of("tzdata").is_some();
    for (path, target) in LINKS.iter().filter(|(path, _)| has_zones || *path != "etc/localtime") {
        insert_new(tree, path, Entry::symlink(*target, Owner::ROOT))?;
    }
    if has_zones {
        insert_new(tree, "etc/timezone", Entry::file("Etc/UTC\n".to_owned().into(), 0o644, Owner::ROOT))?;
    }
    if lock.version_of("openssl").is_none() {
        for (path, target) in SSL_LINKS {
            insert_new(tree, path, Entry::symlink(target, Owner::ROOT))?;
        }
    }
    Ok(())
}

/// Puts the certificates of `ca-certificates` together, as its script does.
pub(super) fn certificates(tree: &mut Tree) -> Result<(), Error> {
    let is_certificate =
        |path: &str| path.strip_prefix(CERTIFICATES).is_some_and(|name| name.strip_suffix(".crt").is_some());
    let paths: Vec<_> =
        tree.iter().map(|(path, _)| path.to_owned()).filter(|path| is_certificate(path)).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let mut bundle = String::new();
    let mut list = String::new();
    for path in &paths {
        bundle.push_str(text(tree, path)?.trim_end());
        bundle.push('\n');
        writeln!(list, "{}", &path[CERTIFICATES.len()..]).expect("writing to a string never fails");
    }
    insert(tree, CERTIFICATE_BUNDLE, Entry::file(bundle.into(), 0o644, Owner::ROOT))?;
    insert(tree, "etc/ca-certificates.conf", Entry::file(list.into(), 0o644, Owner::ROOT))
}

/// Adds a user with a group and a home of its own.
pub(super) fn add_user(tree: &mut Tree, user: &User) -> Result<(), Error> {
    let User { name, uid, gid, home } = user;
    let lines = [
        ("etc/passwd", format!("{name}:x:{uid}:{gid}::/{home}:/bin/sh\n")),
        ("etc/group", format!("{name}:x:{gid}:\n")),
    ];
    for (path, line) in lines {
        let mut content = text(tree, path)?;
        let names: BTreeSet<_> = content.lines().filter_map(|line| line.split(':').next()).collect();
        if !names.contains(name.as_str()) {
            content.push_str(&line);
            insert(tree, path, Entry::file(content.into(), 0o644, Owner::ROOT))?;
        }
    }
    let owner = Owner { uid: *uid, gid: *gid };
    insert(tree, home, Entry::directory(owner))
}

/// The text of a file of the tree; of one that is not there, none.
fn text(tree: &Tree, path: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    match tree.get(path).map(|entry| &entry.kind) {
        Some(EntryKind::File(Content::Bytes(content))) => bytes.extend_from_slice(content),
        Some(EntryKind::File(Content::File { path, .. })) => {
            let file = fs::File::open(path).map_err(Error::file("read", path))?;
            file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
        }
        _ => {}
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn insert_new(tree: &mut Tree, path: &str, entry: Entry) -> Result<(), Error> {
    if tree.get(path).is_some() { Ok(()) } else { insert(tree, path, entry) }
}

fn insert(tree: &mut Tree, path: &str, entry: Entry) -> Result<(), Error> {
    let failed =
        |source: TreeError| Error::Unpack { package: "base-files".to_owned(), source: source.into() };
    tree.insert(path, entry).map_err(failed)
}
