//! What is known of the models of a hub before anything is downloaded: their commits, their files, and the digests of the
//! layers that they become.
//!
//! `ekiben.lock` beside the bentofile is such a lock; bentos carry it on in the lock of their image. It came from
//! whomever: nothing of it is used before all of it has been checked. `docs/formats/model-lock.md` describes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fs::FsError;
use crate::hub::{
    Commit, ContentId, HubError, HubFile, Patterns, Repository, RepositoryId, Snapshot, Wanted,
};
use crate::oci::digest::Digest;
use crate::oci::json;

/// The file beside the bentofile.
pub const MODEL_LOCK: &str = "ekiben.lock";
/// The form of lock that this version writes and reads.
const FORMAT: u32 = 1;
/// Most bytes of a lock: those of a hundred thousand files.
pub(in crate::ops) const SIZE_LIMIT: u64 = 32 << 20;

/// The lock of some models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ops) struct ModelLock {
    /// Digests and sizes of layers, by the keys of their plans.
    pub(in crate::ops) layers: BTreeMap<Digest, LockedLayer>,
    /// The models, in the order in which they were asked for.
    pub(in crate::ops) models: Vec<LockedModel>,
}

/// A layer whose bytes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ops) struct LockedLayer {
    /// Digest of the blob, which is not compressed.
    pub(in crate::ops) digest: Digest,
    /// Its size.
    pub(in crate::ops) size: u64,
}

/// A model at its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ops) struct LockedModel {
    commit: Commit,
    endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclude: Option<Vec<String>>,
    /// The wanted files.
    files: Vec<LockedFile>,
    /// The repository, as the hub writes its name.
    id: RepositoryId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    include: Option<Vec<String>>,
    /// What was asked for.
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockedFile {
    content: ContentId,
    path: String,
    size: u64,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    #[serde(flatten)]
    lock: ModelLock,
}

/// A lock cannot be used.
#[derive(Debug, Error)]
pub enum ModelLockError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FsError),
    /// It has too many bytes.
    #[error("the lock `{}` has more than {limit} bytes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Most bytes.
        limit: u64,
    },
    /// It is no lock of this form.
    #[error("`{}` is no lock of models", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Its form is of another version.
    #[error("the lock `{}` has format {format}, which this version does not know", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The number it gives.
        format: u32,
    },
    /// The files of a model in it cannot be.
    #[error("the lock `{}` cannot be used", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HubError,
    },
}

impl LockedModel {
    pub(in crate::ops) fn new(wanted: &Wanted, snapshot: &Snapshot) -> Self {
        let file =
            |file: &HubFile| LockedFile { content: file.content, path: file.path.clone(), size: file.size };
        Self {
            commit: snapshot.commit.clone(),
            endpoint: snapshot.repository.endpoint.clone(),
            exclude: wanted.patterns.exclude.clone(),
            files: snapshot.files.iter().map(file).collect(),
            id: snapshot.repository.id.clone(),
            include: wanted.patterns.include.clone(),
            revision: wanted.revision.clone(),
        }
    }

    /// The commit that the model is locked to.
    pub(in crate::ops) fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Its files.
    pub(in crate::ops) fn snapshot(&self) -> Snapshot {
        let file =
            |file: &LockedFile| HubFile { path: file.path.clone(), size: file.size, content: file.content };
        let repository = Repository { endpoint: self.endpoint.clone(), id: self.id.clone() };
        Snapshot { repository, commit: self.commit.clone(), files: self.files.iter().map(file).collect() }
    }

    /// Whether it is what is wanted: asked for in the same way, or by the commit that this came to.
    fn answers(&self, wanted: &Wanted) -> bool {
        let patterns = Patterns { include: self.include.clone(), exclude: self.exclude.clone() };
        let Wanted { repository, revision, .. } = wanted;
        self.id.as_str().eq_ignore_ascii_case(repository.id.as_str())
            && self.endpoint == repository.endpoint
            && (self.revision == *revision || self.commit.as_str() == revision)
            && patterns == wanted.patterns
    }
}

impl ModelLock {
    /// The locked model that answers a wish.
    pub(in crate::ops) fn find(&self, wanted: &Wanted) -> Option<&LockedModel> {
        self.models.iter().find(|model| model.answers(wanted))
    }

    /// Whether there is nothing in it.
    pub(in crate::ops) fn is_empty(&self) -> bool {
        self.models.is_empty() && self.layers.is_empty()
    }

    /// The lock's one form as bytes.
    pub(in crate::ops) fn to_json(&self) -> Vec<u8> {
        let mut bytes = json::canonical(&Document { format: FORMAT, lock: self.clone() });
        bytes.push(b'\n');
        bytes
    }

    /// Refuses files that lead out of their repository.
    pub(in crate::ops) fn check(&self) -> Result<(), HubError> {
        self.models.iter().try_for_each(|model| model.snapshot().check())
    }

    /// Reads a lock, if there is one.
    pub(in crate::ops) fn read(path: &Path) -> Result<Option<Self>, ModelLockError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FsError::of("read", path)(error).into()),
        };
        let mut bytes = Vec::new();
        file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(FsError::of("read", path))?;
        let path = path.to_owned();
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(ModelLockError::Size { path, limit: SIZE_LIMIT });
        }
        let form = |source| ModelLockError::Form { path: path.clone(), source };
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).map_err(form)?;
        let format = value.as_object_mut().and_then(|members| members.remove("format"));
        let format = format.and_then(|format| u32::try_from(format.as_u64()?).ok()).unwrap_or_default();
        if format != FORMAT {
            return Err(ModelLockError::Format { path, format });
        }
        let lock: Self = serde_json::from_value(value).map_err(form)?;
        match lock.check() {
            Ok(()) => Ok(Some(lock)),
            Err(source) => Err(ModelLockError::Files { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (ModelLock, Wanted) {
        let repository = Repository { endpoint: "http://hub".to_owned(), id: "Org/Name".parse().unwrap() };
        let patterns = Patterns { include: None, exclude: Some(vec!["*.bin".to_owned()]) };
        let wanted = Wanted { repository: repository.clone(), revision: "main".to_owned(), patterns };
        let content = ContentId::new(&"ab".repeat(32)).unwrap();
        let files = vec![HubFile { path: "a/b".to_owned(), size: 7, content }];
        let snapshot = Snapshot { repository, commit: Commit::new(&"0".repeat(40)).unwrap(), files };
        let layer = LockedLayer { digest: Digest::of(b"layer"), size: 5 };
        let layers = [(Digest::of(b"key"), layer)].into_iter().collect();
        (ModelLock { layers, models: vec![LockedModel::new(&wanted, &snapshot)] }, wanted)
    }

    #[test]
    fn a_lock_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(MODEL_LOCK);
        assert!(ModelLock::read(&path).unwrap().is_none());
        let (lock, mut wanted) = example();
        std::fs::write(&path, lock.to_json()).unwrap();
        let read = ModelLock::read(&path).unwrap().unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.find(&wanted).unwrap().snapshot().files[0].path, "a/b");
        wanted.repository.id = "org/name".parse().unwrap();
        wanted.revision = "0".repeat(40);
        assert!(read.find(&wanted).is_some(), "as bentos say it");
        wanted.patterns.exclude = None;
        assert!(read.find(&wanted).is_none());
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(MODEL_LOCK);
        let text = String::from_utf8(example().0.to_json()).unwrap();
        for (spoilt, expected) in [
            ("nonsense".to_owned(), "is no lock of models"),
            ("[]".to_owned(), "has format 0"),
            (text.replace("\"format\":1", "\"format\":2"), "has format 2"),
            (text.replace("a/b", "a/../../b"), "cannot be used"),
            (text.replace("Org/Name", "../Name"), "is no lock of models"),
            (text.replace(&"0".repeat(40), "main"), "is no lock of models"),
            (text.replace(&"ab".repeat(32), "../../etc/passwd"), "is no lock of models"),
            (text.replace("\"layers\"", "\"more\":1,\"layers\""), "is no lock of models"),
        ] {
            assert_ne!(spoilt, text, "{expected}");
            std::fs::write(&path, &spoilt).unwrap();
            let error = ModelLock::read(&path).unwrap_err();
            assert!(error.to_string().contains(expected), "{error} instead of {expected}");
            assert!(error.to_string().contains(MODEL_LOCK), "{error}");
        }
    }
}
