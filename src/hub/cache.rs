//! The directory in which the hub's own client keeps what it downloaded: one directory for a repository, in it contents
//! under their names (`blobs`), commits as directories of links to them (`snapshots`), what branches and tags meant
//! (`refs`), and what commits have (`trees`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::chunks::NOTES;
use super::python_json;
use super::repository::{Commit, RepositoryId};
use super::snapshot::{ContentId, HubFile, Snapshot};
use crate::fs::{FsError, create_dir_all, read_if_present, write_atomically_unsynced};

/// The form of listings (`huggingface_hub`, `_tree_cache.py`).
const TREE_FORMAT: u32 = 1;
/// Tells programs that make backups that everything here can be had again (<https://bford.info/cachedir/>).
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file says that everything in this directory can be downloaded again.\n\
    # For information about cache directory tags, see https://bford.info/cachedir/\n";
/// What is added to the name of a content while it is downloaded. The hub's own client takes files with this ending for
/// unfinished ones, and removes them when asked to tidy up.
const UNFINISHED: &str = "ekiben.incomplete";

/// A cache of repositories.
#[derive(Clone, Debug)]
pub struct HubCache {
    root: PathBuf,
}

/// A repository in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRepository {
    /// Its name.
    pub id: RepositoryId,
    /// The commits of which something is here, by hash.
    pub revisions: Vec<CachedRevision>,
}

/// A commit in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRevision {
    /// The commit.
    pub commit: Commit,
    /// Branches and tags that mean it.
    pub references: Vec<String>,
    /// Its directory.
    pub path: PathBuf,
    /// Files of it that are here.
    pub files: usize,
    /// Bytes of these files.
    pub size: u64,
    /// When the last of them came.
    pub modified: SystemTime,
    /// Names of the contents that its files have.
    contents: BTreeSet<std::ffi::OsString>,
}

/// A listing as the hub's own client writes it.
#[derive(Deserialize, Serialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<String, TreeFile>,
}

#[derive(Deserialize, Serialize)]
struct TreeFile {
    size: u64,
    blob_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xet_hash: Option<String>,
}

/// A file as the hub lists it, with what its own client wants to know.
#[derive(Clone, Debug)]
pub(super) struct ListedFile {
    pub(super) file: HubFile,
    pub(super) git_name: String,
    pub(super) xet_hash: Option<String>,
}

impl HubCache {
    /// The cache at a directory, which is made when first written to.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn repository(&self, id: &RepositoryId) -> PathBuf {
        self.root.join(id.directory())
    }

    /// Where a content of a repository is, or will be.
    pub fn content(&self, id: &RepositoryId, content: ContentId) -> PathBuf {
        self.repository(id).join("blobs").join(content.to_string())
    }

    /// Where the part of a content is that has arrived.
    pub(super) fn unfinished(&self, id: &RepositoryId, content: ContentId) -> PathBuf {
        self.repository(id).join("blobs").join(format!("{content}.{UNFINISHED}"))
    }

    /// The directory of a commit.
    pub fn snapshot(&self, id: &RepositoryId, commit: &Commit) -> PathBuf {
        self.repository(id).join("snapshots").join(commit.as_str())
    }

    /// The file whose lock says that somebody downloads a content: the one that the hub's own client locks.
    pub(super) fn lock(&self, id: &RepositoryId, content: ContentId) -> PathBuf {
        self.root.join(".locks").join(id.directory()).join(format!("{content}.lock"))
    }

    /// Removes what tells which parts of contents have arrived that are whole by now: a download that is killed right after
    /// it gave a content its name leaves that behind.
    pub(super) fn tidy(&self, id: &RepositoryId) -> Result<(), FsError> {
        let blobs = self.repository(id).join("blobs");
        let Ok(entries) = fs::read_dir(&blobs) else { return Ok(()) };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let part = name.strip_suffix(NOTES).and_then(|part| part.strip_suffix('.'));
            if part.is_some_and(|part| !blobs.join(part).exists()) {
                remove_file(&blobs.join(&name))?;
            }
        }
        Ok(())
    }

    /// Makes the directories of a repository.
    pub(super) fn prepare(&self, id: &RepositoryId) -> Result<(), FsError> {
        create_dir_all(&self.repository(id).join("blobs"))?;
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            write_atomically_unsynced(&tag, CACHE_TAG.as_bytes())?;
        }
        Ok(())
    }

    /// The commit that a branch or tag meant when it was last asked for.
    pub(super) fn reference(&self, id: &RepositoryId, revision: &str) -> Option<Commit> {
        let text = fs::read_to_string(self.reference_path(id, revision)?).ok()?;
        Commit::new(text.trim())
    }

    pub(super) fn write_reference(
        &self,
        id: &RepositoryId,
        revision: &str,
        commit: &Commit,
    ) -> Result<(), FsError> {
        let path = self.reference_path(id, revision);
        match path.filter(|_| self.reference(id, revision).as_ref() != Some(commit)) {
            Some(path) => write_atomically_unsynced(&path, commit.as_str().as_bytes()),
            None => Ok(()),
        }
    }

    /// `None` for a commit, which needs no file to say what it means, and for what leads elsewhere.
    fn reference_path(&self, id: &RepositoryId, revision: &str) -> Option<PathBuf> {
        let is_plain = !revision.split('/').any(|part| matches!(part, "" | "." | ".."));
        (is_plain && Commit::new(revision).is_none()).then(|| self.repository(id).join("refs").join(revision))
    }

    /// What a commit has, as it was listed before.
    pub(super) fn tree(&self, id: &RepositoryId, commit: &Commit) -> Option<Vec<HubFile>> {
        let bytes = read_if_present(&self.tree_path(id, commit)).ok()??;
        let tree: Tree =
            serde_json::from_slice(&bytes).ok().filter(|tree: &Tree| tree.format_version == TREE_FORMAT)?;
        let file = |(path, file): (String, TreeFile)| {
            let content = ContentId::new(file.lfs_sha256.as_deref().unwrap_or(&file.blob_id))?;
            Some(HubFile { path, size: file.lfs_size.unwrap_or(file.size), content })
        };
        tree.files.into_iter().map(file).collect()
    }

    pub(super) fn write_tree(
        &self,
        id: &RepositoryId,
        commit: &Commit,
        files: &[ListedFile],
    ) -> Result<(), FsError> {
        let entry = |listed: &ListedFile| {
            let file = &listed.file;
            let sha256 = matches!(file.content, ContentId::Sha256(_)).then(|| file.content.to_string());
            let tree_file = TreeFile {
                size: file.size,
                blob_id: listed.git_name.clone(),
                lfs_size: sha256.as_ref().map(|_| file.size),
                lfs_sha256: sha256,
                xet_hash: listed.xet_hash.clone(),
            };
            (file.path.clone(), tree_file)
        };
        let tree = Tree { format_version: TREE_FORMAT, files: files.iter().map(entry).collect() };
        write_atomically_unsynced(&self.tree_path(id, commit), &python_json::indented(&tree))
    }

    fn tree_path(&self, id: &RepositoryId, commit: &Commit) -> PathBuf {
        self.repository(id).join("trees").join(format!("{commit}.json"))
    }

    /// What is here of a commit of which no listing is here: it was downloaded by an older client.
    pub(super) fn walk(&self, id: &RepositoryId, commit: &Commit) -> Option<Vec<HubFile>> {
        let root = self.snapshot(id, commit);
        let mut files = Vec::new();
        for entry in walkdir::WalkDir::new(&root).min_depth(1) {
            let entry = entry.ok()?;
            if entry.file_type().is_symlink() {
                let target = fs::read_link(entry.path()).ok()?;
                let content = ContentId::new(target.file_name()?.to_str()?)?;
                let path = entry.path().strip_prefix(&root).ok()?.to_str()?.to_owned();
                files.push(HubFile { path, size: entry.path().metadata().ok()?.len(), content });
            }
        }
        (!files.is_empty()).then_some(files)
    }

    /// Whether a content is here, with the size that it should have.
    pub(super) fn has(&self, id: &RepositoryId, file: &HubFile) -> bool {
        self.content(id, file.content).metadata().is_ok_and(|found| found.len() == file.size)
    }

    /// Makes the files of a commit links to their contents.
    pub(super) fn link(&self, snapshot: &Snapshot) -> Result<PathBuf, FsError> {
        let root = self.snapshot(&snapshot.repository.id, &snapshot.commit);
        create_dir_all(&root)?;
        for file in &snapshot.files {
            let path = root.join(&file.path);
            if let Some(parent) = path.parent().filter(|parent| *parent != root) {
                create_dir_all(parent)?;
            }
            link_to(&path, &file.link_target())?;
        }
        Ok(root)
    }

    /// The repository of which something is here whose name differs from this at most in its letters' case: hubs take a
    /// name in any case, and bentos have it in lower case.
    pub(super) fn spelling(&self, id: &RepositoryId) -> Option<RepositoryId> {
        if self.repository(id).is_dir() {
            return Some(id.clone());
        }
        let directory = id.directory();
        let entries = fs::read_dir(&self.root).ok()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.eq_ignore_ascii_case(&directory)).collect();
        names.sort_unstable();
        names.first().and_then(|name| RepositoryId::of_directory(name))
    }

    /// Everything that is here, by name.
    pub fn list(&self) -> Result<Vec<CachedRepository>, FsError> {
        let mut repositories = Vec::new();
        for name in directory_names(&self.root)? {
            let Some(id) = RepositoryId::of_directory(&name) else { continue };
            let revisions = self.revisions(&id)?;
            if !revisions.is_empty() {
                repositories.push(CachedRepository { id, revisions });
            }
        }
        Ok(repositories)
    }

    fn revisions(&self, id: &RepositoryId) -> Result<Vec<CachedRevision>, FsError> {
        let references = self.references(id);
        let mut revisions = Vec::new();
        for name in directory_names(&self.repository(id).join("snapshots"))? {
            let Some(commit) = Commit::new(&name) else { continue };
            let mut revision = CachedRevision {
                references: references.get(&commit).cloned().unwrap_or_default(),
                path: self.snapshot(id, &commit),
                commit,
                files: 0,
                size: 0,
                modified: SystemTime::UNIX_EPOCH,
                contents: BTreeSet::new(),
            };
            for entry in walkdir::WalkDir::new(&revision.path).into_iter().flatten() {
                let Ok(metadata) = entry.path().metadata() else { continue };
                if metadata.is_file() {
                    revision.files += 1;
                    // A link names its content; a whole file, as caches without links have them, is nobody else's.
                    let target = fs::read_link(entry.path()).ok();
                    let name = target.as_deref().and_then(Path::file_name);
                    if name.is_none_or(|name| revision.contents.insert(name.to_owned())) {
                        revision.size += metadata.len();
                    }
                    revision.modified =
                        revision.modified.max(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
                }
            }
            revisions.push(revision);
        }
        Ok(revisions)
    }

    fn references(&self, id: &RepositoryId) -> BTreeMap<Commit, Vec<String>> {
        let root = self.repository(id).join("refs");
        let mut found: BTreeMap<Commit, Vec<String>> = BTreeMap::new();
        for entry in walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().flatten() {
            let name = entry.path().strip_prefix(&root).ok().and_then(Path::to_str);
            let commit = fs::read_to_string(entry.path()).ok().and_then(|text| Commit::new(text.trim()));
            if let (Some(name), Some(commit)) = (name, commit) {
                found.entry(commit).or_default().push(name.to_owned());
            }
        }
        found
    }

    /// Removes a commit: its directory, listing and references, and the contents that no other commit has. Gives the
    /// bytes that became free.
    pub fn remove(&self, id: &RepositoryId, revision: &CachedRevision) -> Result<u64, FsError> {
        let kept: BTreeSet<_> = self
            .revisions(id)?
            .into_iter()
            .filter(|other| other.commit != revision.commit)
            .flat_map(|other| other.contents)
            .collect();
        let repository = self.repository(id);
        for name in &revision.references {
            remove_file(&repository.join("refs").join(name))?;
        }
        // First what makes it a commit, then what it consists of: a kill in between leaves contents that nothing needs.
        fs::remove_dir_all(&revision.path).map_err(FsError::of("remove", &revision.path))?;
        remove_file(&self.tree_path(id, &revision.commit))?;
        let mut freed = 0;
        for name in revision.contents.difference(&kept) {
            let content = repository.join("blobs").join(name);
            freed += content.symlink_metadata().map(|metadata| metadata.len()).unwrap_or_default();
            remove_file(&content)?;
        }
        if self.revisions(id)?.is_empty() {
            fs::remove_dir_all(&repository).map_err(FsError::of("remove", &repository))?;
        }
        Ok(freed)
    }
}

/// Makes `path` a link to `target`, whatever it was. A whole file, as caches without links have them, stays.
fn link_to(path: &Path, target: &str) -> Result<(), FsError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_symlink() => return Ok(()),
        Ok(_) if fs::read_link(path).is_ok_and(|known| known == Path::new(target)) => return Ok(()),
        Ok(_) => remove_file(path)?,
        Err(_) => {}
    }
    match symlink(target, path) {
        // Another process made the same link in between.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(FsError::of("create a link at", path)),
    }
}

fn remove_file(path: &Path) -> Result<(), FsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::of("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The names of the directories in a directory, sorted; none where there is no such directory.
fn directory_names(path: &Path) -> Result<Vec<String>, FsError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FsError::of("list", path)(error)),
    };
    let directories = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        directories.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}
