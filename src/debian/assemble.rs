//! From packages to a tree.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::alternatives;
use super::archive::Watch;
use super::bytecode;
use super::cache::Packages;
use super::error::{DebError, Error};
use super::fixups;
use super::lock::{Lock, LockedPackage};
use super::status;
use super::unpack::{self, MERGED, Unpacked, UsrLayout};
use crate::oci::tree::{Entry, EntryKind, Owner, Tree, TreeError};

/// Packages unpacked at a time: decompression is what takes the time.
const THREADS: usize = 2;
/// Most links that are followed to find out where a path leads, as the kernel has it.
const LINK_LIMIT: usize = 40;
/// What scripts do that a tree of files lacks when they are not run, and that programs notice.
const NOTABLE_ACTIONS: [&str; 7] =
    ["addgroup", "adduser", "dpkg-statoverride", "groupadd", "mknod", "setcap", "useradd"];
/// Packages whose scripts are replaced by [`fixups`].
const KNOWN_SCRIPTS: [&str; 5] = ["base-files", "base-passwd", "ca-certificates", "dash", "tzdata"];

/// What the tree is for.
#[derive(Clone, Debug)]
pub enum Root {
    /// A system of its own.
    Own {
        /// A user to be added.
        user: Option<User>,
    },
    /// A layer on an image that has a system.
    OnTop {
        /// How that system is laid out.
        layout: UsrLayout,
        /// dpkg's database there (`/var/lib/dpkg/status`), or nothing.
        status: String,
    },
}

/// A user of the image.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name, and that of its group.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Its home directory, as a path of the tree.
    pub home: String,
}

/// How Python's standard library gets its bytecode.
#[derive(Clone, Debug, Default)]
pub struct Bytecode {
    /// A Python of the host, for trees whose own cannot run here; used if it is of the same minor version.
    pub host_python: Option<PathBuf>,
    /// The environment that a host's Python gets.
    pub environment: BTreeMap<OsString, OsString>,
}

/// What a tree is made like.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is for.
    pub root: Root,
    /// How bytecode is made; without, there is none.
    pub bytecode: Option<Bytecode>,
}

/// Unpacks the packages of a lock and completes them as their scripts would.
///
/// Large files are unpacked into `scratch`, which must outlive the tree. What cannot be done is reported as warning.
pub fn assemble(
    lock: &Lock,
    packages: &Packages,
    scratch: &Path,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Tree, Error> {
    let layout = match &options.root {
        Root::Own { .. } => UsrLayout::Merged,
        Root::OnTop { layout, .. } => *layout,
    };
    let unpacked = unpack_all(lock, packages, layout, scratch, watch)?;
    let mut tree = Tree::new();
    if matches!(options.root, Root::Own { .. }) {
        link_into_usr(&mut tree, &unpacked)?;
    }
    merge(&mut tree, lock, &unpacked)?;
    run_scripts(&mut tree, lock, &unpacked, watch)?;
    fixups::certificates(&mut tree)?;
    match &options.root {
        Root::Own { user } => {
            fixups::complete(&mut tree, lock)?;
            user.iter().try_for_each(|user| fixups::add_user(&mut tree, user))?;
            status::add(&mut tree, "", lock, &unpacked)?;
        }
        Root::OnTop { status, .. } => status::add(&mut tree, status, lock, &unpacked)?,
    }
    if let Some(bytecode) = &options.bytecode {
        bytecode::compile(&mut tree, lock, scratch, bytecode, watch)?;
    }
    Ok(tree)
}

/// Unpacks the packages, several at a time; the result is in the lock's order.
fn unpack_all(
    lock: &Lock,
    packages: &Packages,
    layout: UsrLayout,
    scratch: &Path,
    watch: Watch<'_>,
) -> Result<Vec<Unpacked>, Error> {
    let task =
        watch.report.task(&format!("unpacking {} packages", lock.packages.len()), Some(lock.download_size()));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let one = |package: &LockedPackage| {
        let path = packages
            .get(&package.digest)
            .ok_or_else(|| Error::NotFetched { package: package.name.clone() })?;
        let staging = unpack::staging(scratch, package)?;
        unpack::unpack(path, package, layout, &staging, watch)
    };
    let work = || {
        while let Some((index, package)) =
            lock.packages.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed))
        {
            let result = one(package);
            task.advance(package.size);
            if result.is_err() {
                next.store(lock.packages.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(index, result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(work);
        }
        work();
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

/// Makes the links of a merged system: always those that everything expects, others where something is below.
fn link_into_usr(tree: &mut Tree, unpacked: &[Unpacked]) -> Result<(), Error> {
    for name in MERGED {
        let directory = format!("usr/{name}");
        let below = format!("{directory}/");
        let is_used = unpacked.iter().flat_map(|one| &one.entries).any(|(path, _)| path.starts_with(&below));
        if is_used || matches!(name, "bin" | "lib" | "sbin") {
            let inserted = tree
                .insert(name, Entry::symlink(directory.clone(), Owner::ROOT))
                .and_then(|()| tree.insert(&directory, Entry::directory(Owner::ROOT)));
            inserted.map_err(|source| broken("base-files", source))?;
        }
    }
    Ok(())
}

/// Puts the files of all packages into one tree; links first, so that what lies below them goes to where they lead.
fn merge(tree: &mut Tree, lock: &Lock, unpacked: &[Unpacked]) -> Result<(), Error> {
    let is_link = |entry: &Entry| matches!(entry.kind, EntryKind::Symlink(_));
    for links in [true, false] {
        for (package, one) in lock.packages.iter().zip(unpacked) {
            for (path, entry) in one.entries.iter().filter(|(_, entry)| is_link(entry) == links) {
                put(tree, path, entry.clone())
                    .map_err(|source| Error::Unpack { package: package.name.clone(), source })?;
            }
        }
    }
    Ok(())
}

fn put(tree: &mut Tree, path: &str, entry: Entry) -> Result<(), DebError> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = follow(tree, parent, path)?;
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
    let is_kept = match (tree.get(&path).map(|known| &known.kind), &entry.kind) {
        // A link to a directory stays one when another package ships the directory, as with dpkg.
        (Some(EntryKind::Symlink(_)), EntryKind::Directory) => true,
        (Some(EntryKind::Directory), kind) => !matches!(kind, EntryKind::Directory),
        _ => false,
    };
    if !is_kept {
        tree.insert(&path, entry)?;
    }
    Ok(())
}

/// Where a directory is when the links of the tree are followed; links never lead out of it.
fn follow(tree: &Tree, directory: &str, path: &str) -> Result<String, DebError> {
    let mut pending: Vec<String> = directory.split('/').rev().map(str::to_owned).collect();
    let mut place: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                place.pop();
                continue;
            }
            _ => place.push(name),
        }
        let Some(EntryKind::Symlink(target)) = tree.get(&place.join("/")).map(|entry| &entry.kind) else {
            continue;
        };
        links += 1;
        if links > LINK_LIMIT {
            return Err(DebError::LinkLoop { path: path.to_owned() });
        }
        place.pop();
        if target.starts_with('/') {
            place.clear();
        }
        pending.extend(target.split('/').rev().map(str::to_owned));
    }
    Ok(place.join("/"))
}

/// Does what can be done of the packages' scripts without running them, and tells what else they would do.
fn run_scripts(tree: &mut Tree, lock: &Lock, unpacked: &[Unpacked], watch: Watch<'_>) -> Result<(), Error> {
    let mut alternatives = Vec::new();
    for (package, one) in lock.packages.iter().zip(unpacked) {
        let script = one.control.postinst.as_deref().unwrap_or_default();
        for found in alternatives::parse(script) {
            match found {
                Some(alternative) => alternatives.push(alternative),
                None => warn(watch, package, "update-alternatives"),
            }
        }
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
        let used: Vec<String> = lines.flat_map(words).collect();
        if !KNOWN_SCRIPTS.contains(&package.name.as_str()) {
            for action in NOTABLE_ACTIONS.iter().filter(|action| used.iter().any(|word| word == *action)) {
                warn(watch, package, action);
            }
        }
    }
    alternatives::link(tree, alternatives).map_err(|source| broken("update-alternatives", source))
}

fn warn(watch: Watch<'_>, package: &LockedPackage, action: &str) {
    let name = &package.name;
    watch.report.warn(&format!("package `{name}` uses `{action}` when it is installed; this was not done"));
}

fn broken(package: &str, source: TreeError) -> Error {
    Error::Unpack { package: package.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, target) in links {
            tree.insert(path, Entry::symlink(*target, Owner::ROOT)).unwrap();
        }
        tree
    }

    #[test]
    fn what_lies_below_a_link_goes_to_where_it_leads() {
        let mut tree = tree(&[("usr/x", "../opt/x"), ("opt/x", "/srv/y")]);
        put(&mut tree, "usr/x/file", Entry::file(String::new().into(), 0o644, Owner::ROOT)).unwrap();
        put(&mut tree, "usr/x", Entry::directory(Owner::ROOT)).unwrap();
        assert!(tree.get("srv/y/file").is_some());
        assert!(matches!(tree.get("usr/x").unwrap().kind, EntryKind::Symlink(_)));
    }

    #[test]
    fn links_never_lead_out_of_the_tree() {
        let tree = tree(&[("a", "../../etc"), ("b", "b")]);
        assert_eq!(follow(&tree, "a/x", "a/x/f").unwrap(), "etc/x");
        assert!(matches!(follow(&tree, "b", "b/f"), Err(DebError::LinkLoop { .. })));
    }
}
