//! From a registry into the store.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

use super::{ArtifactsError, Places};
use crate::archive::{self, ArchiveError, Input, Limits};
use crate::fs::FsError;
use crate::oci::artifact::{self, Listed, ListedLayer, Part};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::ops::archives::{IfPresent, Unpackable, settle};
use crate::registry::BlobCache;
use crate::report::{Activity, Silent};
use crate::store::{CreationTime, Home, Kind, ModelInfo, Staging, copy_file};
use crate::tag::Tag;

/// Blobs on their way into the store; what an interrupted pull has fetched waits here for the next one.
const BLOBS: &str = "ekiben-pulls";
/// Digits of a digest that make a version: as many as versions usually have.
const VERSION_DIGITS: usize = 16;

/// What was pulled.
#[derive(Clone, Debug, Serialize)]
pub struct Pulled {
    /// Its tag.
    pub tag: Tag,
    /// Whether the store had it already, so that nothing was fetched.
    pub was_there: bool,
    /// The models that came with a bento and were not there yet.
    pub models: Vec<Tag>,
    /// Digest of the artifact.
    pub digest: Digest,
}

/// Pulls a model or a bento; its models come with it.
///
/// It appears in the store whole, or not at all; what it replaces is there until then. An artifact that another tool made
/// becomes a model of plain files, named after its repository.
pub fn pull<I: Unpackable>(
    reference: &Reference,
    places: &Places<'_>,
    if_present: IfPresent,
    now: Timestamp,
) -> Result<Pulled, ArtifactsError> {
    let transports = places.transports;
    let activity = &transports.activity;
    let manifest = transports.manifest(reference)?;
    let explain = |source| ArtifactsError::Manifest { reference: reference.to_string(), source };
    let listed = artifact::read(&manifest.bytes).map_err(explain)?;
    let store = I::store(places.home);
    let stated = listed.title.as_ref().and_then(|(name, version)| Tag::new(name, version).ok());
    if if_present == IfPresent::Keep
        && let Some(tag) = stated.clone().filter(|tag| store.contains(tag))
    {
        return Ok(Pulled { tag, was_there: true, models: Vec::new(), digest: manifest.digest });
    }
    let puller = Puller {
        reference: reference.to_string(),
        blobs: BlobCache::new(places.home.scratch().join(BLOBS)),
        listed: &listed,
        stated,
        if_present,
        home: places.home.path(),
        activity,
    };
    let _in_use = in_use(places.home)?;
    puller.check_room()?;
    let wanted: Vec<_> = listed.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
    transports.fetch(reference, &wanted, &puller.blobs)?;
    let stored = puller.store::<I>(reference, &manifest.digest, places, now);
    if !matches!(stored, Err(ArtifactsError::Interrupted(_))) {
        puller.forget_blobs();
    }
    stored
}

/// Where blobs wait, in the scratch directory of a home.
pub(in crate::ops) fn blobs(scratch: &Path) -> PathBuf {
    // Every digest of an artifact is of this kind.
    scratch.join(BLOBS).join("blobs/sha256")
}

/// The file on which every pull has a lock, together with all others.
pub(in crate::ops) fn lock_path(scratch: &Path) -> PathBuf {
    scratch.join("locks").join(format!("{BLOBS}.lock"))
}

/// Keeps the blobs from being swept until it is dropped.
pub(in crate::ops) fn in_use(home: &Home) -> Result<File, FsError> {
    let path = lock_path(&home.scratch());
    crate::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let file = File::options().create(true).append(true).open(&path).map_err(FsError::of("open", &path))?;
    file.lock_shared().map_err(FsError::of("lock", &path))?;
    Ok(file)
}

struct Puller<'a> {
    reference: String,
    blobs: BlobCache,
    listed: &'a Listed,
    /// The tag that the manifest says.
    stated: Option<Tag>,
    if_present: IfPresent,
    home: &'a Path,
    activity: &'a Activity,
}

impl Puller<'_> {
    /// Makes an item of the fetched blobs.
    fn store<I: Unpackable>(
        &self,
        reference: &Reference,
        digest: &Digest,
        places: &Places<'_>,
        now: Timestamp,
    ) -> Result<Pulled, ArtifactsError> {
        let staging = I::store(places.home).stage("pull")?;
        self.unpack_tars(&staging, &places.home.scratch())?;
        self.place_files(staging.path())?;
        let has = |kind: Kind| staging.path().join(kind.file_name()).symlink_metadata().is_ok();
        if I::KIND == Kind::Model && !has(Kind::Model) && !has(Kind::Bento) {
            self.describe(reference, digest, &staging, now)?;
        }
        self.check_replaced::<I>(&staging, places)?;
        let imported = settle::<I>(&self.reference, staging, places.home, self.if_present, self.activity)?;
        Ok(Pulled { tag: imported.tag, was_there: false, models: imported.models, digest: *digest })
    }

    /// Nothing is replaced by what calls itself something else.
    fn check_replaced<I: Unpackable>(
        &self,
        staging: &Staging,
        places: &Places<'_>,
    ) -> Result<(), ArtifactsError> {
        let (IfPresent::Replace, Some(stated)) = (self.if_present, &self.stated) else { return Ok(()) };
        // What cannot be read is refused with more words elsewhere.
        let Ok(found) = I::load(staging.path()) else { return Ok(()) };
        if found.tag() == stated || !I::store(places.home).contains(found.tag()) {
            return Ok(());
        }
        let (stated, found) = (stated.clone(), found.tag().clone());
        Err(ArtifactsError::OtherItem { reference: self.reference.clone(), stated, found })
    }

    /// Removes what is left of the blobs: they are in the store now, or no good.
    fn forget_blobs(&self) {
        for layer in &self.listed.layers {
            // Most have been moved away.
            let _ = fs::remove_file(self.blobs.path(&layer.digest));
        }
    }

    fn check_room(&self) -> Result<(), ArtifactsError> {
        let size = self.listed.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
        let free = Limits::of_disk(self.home).map_err(|source| self.unpacking(source))?.bytes;
        if size <= free {
            return Ok(());
        }
        let (reference, home) = (self.reference.clone(), self.home.to_owned());
        Err(ArtifactsError::NoRoom { reference, size, free, home })
    }

    /// Unpacks the tars; the first goes where it belongs, those of other tools may be several and are moved there.
    fn unpack_tars(&self, staging: &Staging, scratch: &Path) -> Result<(), ArtifactsError> {
        let is_tar = |layer: &&ListedLayer| matches!(layer.part, Part::Tar(_));
        for (number, layer) in self.listed.layers.iter().filter(is_tar).enumerate() {
            self.activity.interrupt.check()?;
            let path = self.blobs.path(&layer.digest);
            let file = File::open(&path).map_err(FsError::of("read", &path))?;
            if number == 0 {
                self.unpack(file, staging.path(), scratch)?;
            } else {
                let aside = tempfile::tempdir_in(scratch).map_err(FsError::of("write in", scratch))?;
                self.unpack(file, aside.path(), scratch)?;
                self.merge(aside.path(), staging.path(), "")?;
            }
        }
        Ok(())
    }

    fn unpack(&self, file: File, into: &Path, scratch: &Path) -> Result<(), ArtifactsError> {
        let limits = Limits::of_disk(into).map_err(|source| self.unpacking(source))?;
        archive::unpack(Input::File(file), into, limits, scratch, &Silent, &self.activity.interrupt)
            .map_err(|source| self.unpacking(source))?;
        Ok(())
    }

    fn unpacking(&self, error: ArchiveError) -> ArtifactsError {
        match error {
            ArchiveError::Interrupted(interrupted) => interrupted.into(),
            source => ArtifactsError::Unpack { reference: self.reference.clone(), source },
        }
    }

    /// Moves what is in `from` into `to`; directories that both have become one.
    fn merge(&self, from: &Path, to: &Path, below: &str) -> Result<(), ArtifactsError> {
        for entry in fs::read_dir(from).map_err(FsError::of("read", from))? {
            let entry = entry.map_err(FsError::of("read", from))?;
            let path = format!("{below}{}", entry.file_name().to_string_lossy());
            let target = to.join(entry.file_name());
            match target.symlink_metadata() {
                Err(_) => fs::rename(entry.path(), &target).map_err(FsError::of("write", &target))?,
                Ok(there) if there.is_dir() && entry.path().is_dir() && !entry.path().is_symlink() => {
                    self.merge(&entry.path(), &target, &format!("{path}/"))?;
                }
                Ok(_) => return Err(self.taken(&path)),
            }
        }
        Ok(())
    }

    fn taken(&self, path: &str) -> ArtifactsError {
        ArtifactsError::Taken { reference: self.reference.clone(), path: path.to_owned() }
    }

    /// Moves the blobs that are files to their places; only a blob that is several files is copied.
    fn place_files(&self, root: &Path) -> Result<(), ArtifactsError> {
        let mut uses: BTreeMap<Digest, usize> = BTreeMap::new();
        for layer in self.listed.layers.iter().filter(|layer| matches!(layer.part, Part::File { .. })) {
            *uses.entry(layer.digest).or_default() += 1;
        }
        let mut directories = Directories::default();
        for layer in &self.listed.layers {
            let Part::File { path, mode, modified } = &layer.part else { continue };
            let target = self.open_place(root, path, &mut directories)?;
            let blob = self.blobs.path(&layer.digest);
            let left = uses.entry(layer.digest).or_default();
            *left = left.saturating_sub(1);
            let moved = if *left == 0 { fs::rename(&blob, &target) } else { copy_file(&blob, &target) };
            moved.map_err(FsError::of("write", &target))?;
            finish_file(&target, *mode, *modified)?;
        }
        directories.restore()
    }

    /// The place of a file, with its directories made.
    fn open_place(
        &self,
        root: &Path,
        path: &str,
        directories: &mut Directories,
    ) -> Result<PathBuf, ArtifactsError> {
        directories.open(root)?;
        for (index, _) in path.match_indices('/') {
            let directory = root.join(&path[..index]);
            match directory.symlink_metadata() {
                Ok(there) if there.is_dir() => directories.open(&directory)?,
                Ok(_) => return Err(self.taken(path)),
                Err(_) => fs::create_dir(&directory).map_err(FsError::of("create directory", &directory))?,
            }
        }
        let target = root.join(path);
        if target.symlink_metadata().is_ok() { Err(self.taken(path)) } else { Ok(target) }
    }

    /// Makes a model of plain files of what another tool has pushed.
    fn describe(
        &self,
        reference: &Reference,
        digest: &Digest,
        staging: &Staging,
        now: Timestamp,
    ) -> Result<(), ArtifactsError> {
        let explain = |source| ArtifactsError::Name { reference: self.reference.clone(), source };
        let path = &reference.repository.path;
        let name = path.rsplit('/').next().unwrap_or(path);
        let of_digest = || digest.hex()[..VERSION_DIGITS].to_owned();
        let version = reference.tag.clone().filter(|tag| tag != crate::tag::LATEST).unwrap_or_else(of_digest);
        let tag = Tag::new(name, &version).or_else(|_| Tag::new(name, &of_digest())).map_err(explain)?;
        let info = ModelInfo::of_files(tag, CreationTime::new(now));
        let file = staging.path().join(Kind::Model.file_name());
        let text = info.to_document().to_yaml();
        Ok(fs::write(&file, text).map_err(FsError::of("write", &file))?)
    }
}

/// Directories that something is put into, which are to look afterwards as if nothing had been.
#[derive(Default)]
struct Directories {
    before: BTreeMap<PathBuf, Metadata>,
}

impl Directories {
    fn open(&mut self, path: &Path) -> Result<(), FsError> {
        if self.before.contains_key(path) {
            return Ok(());
        }
        let metadata = fs::metadata(path).map_err(FsError::of("read", path))?;
        let mut writable = metadata.permissions();
        writable.set_mode(writable.mode() | 0o700);
        fs::set_permissions(path, writable).map_err(FsError::of("write", path))?;
        self.before.insert(path.to_owned(), metadata);
        Ok(())
    }

    fn restore(self) -> Result<(), ArtifactsError> {
        // The deepest first: a directory that nobody may enter hides those below.
        for (path, metadata) in self.before.into_iter().rev() {
            let directory = File::open(&path).map_err(FsError::of("read", &path))?;
            let modified = metadata.modified().map_err(FsError::of("read", &path))?;
            directory
                .set_times(FileTimes::new().set_modified(modified))
                .and_then(|()| directory.set_permissions(metadata.permissions()))
                .map_err(FsError::of("write", &path))?;
        }
        Ok(())
    }
}

fn finish_file(path: &Path, mode: u32, modified: Option<Timestamp>) -> Result<(), FsError> {
    let finish = || {
        let file = File::options().write(true).open(path)?;
        if let Some(modified) = modified {
            file.set_times(FileTimes::new().set_modified(SystemTime::from(modified)))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))
    };
    finish().map_err(FsError::of("write", path))
}
