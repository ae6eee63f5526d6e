//! The lock of an image, which its bento carries: what it is made for, and the Debian packages of its base.
//!
//! `docs/formats/image-lock.md` describes the file. It came with the bento, from whomever: nothing of it is used before
//! all of it has been checked.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::hub::{ModelLock, SIZE_LIMIT};
use crate::debian::{Architecture, Lock, LockError, Request};
use crate::hub::HubError;
use crate::oci::digest::Digest;
use crate::oci::json;
use crate::oci::platform::Platform;

/// Where a bento has the lock.
pub(super) const IMAGE_LOCK: &str = "env/lock.json";
/// The form of lock that this version writes and reads.
const FORMAT: u32 = 1;

/// What an image is made for, and the packages of its base as far as they were known when the bento was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageLock {
    architecture: Architecture,
    base: Option<Answer>,
    system_packages: Option<Answer>,
    models: ModelLock,
}

/// The packages that a request came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    request: Digest,
    lock: Lock,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    platform: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system_packages: Option<Answer>,
    #[serde(default, skip_serializing_if = "ModelLock::is_empty")]
    hub: ModelLock,
}

/// What every form of the file has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// A bento has a lock that cannot be used.
#[derive(Debug, Error)]
#[error("cannot use the lock `{}` of the bento", path.display())]
pub struct ImageLockError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: ImageLockDefect,
}

/// What is wrong with the lock of an image.
#[derive(Debug, Error)]
pub enum ImageLockDefect {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It is a link, a directory or something else that bentos do not have in that place.
    #[error("it is not a regular file")]
    Kind,
    /// It is larger than any lock.
    #[error("it has more than {limit} bytes")]
    Size {
        /// The limit.
        limit: u64,
    },
    /// It is not the document that it should be.
    #[error("it is not an image lock")]
    Syntax(#[from] serde_json::Error),
    /// It is of another version of the form.
    #[error("its format {format} is unknown")]
    Format {
        /// The number it gives.
        format: u32,
    },
    /// It is for something that images are not made for.
    #[error("its platform `{platform}` is none that images are made for")]
    Platform {
        /// The platform.
        platform: String,
    },
    /// Its packages are for another platform than itself.
    #[error("its packages are not for its platform `{platform}`")]
    OtherPlatform {
        /// The lock's own platform.
        platform: String,
    },
    /// The files of a model in it cannot be.
    #[error(transparent)]
    Models(#[from] HubError),
    /// A package in it is not described as packages are.
    #[error(transparent)]
    Packages(#[from] LockError),
}

impl ImageLock {
    /// The lock of an image for this architecture, of whose base nothing is known.
    pub(super) fn new(architecture: Architecture) -> Self {
        Self { architecture, base: None, system_packages: None, models: ModelLock::default() }
    }

    /// With the packages of an assembled base.
    pub(super) fn with_base(mut self, request: &Request, lock: Lock) -> Self {
        self.base = Some(Answer { request: request.digest(), lock });
        self
    }

    /// With packages on top of the base.
    pub(super) fn with_system_packages(mut self, request: &Request, lock: Lock) -> Self {
        self.system_packages = Some(Answer { request: request.digest(), lock });
        self
    }

    /// With what is known of models of the hub.
    pub(super) fn with_models(mut self, models: ModelLock) -> Self {
        self.models = models;
        self
    }

    /// What is known of models of the hub.
    pub(super) fn models(&self) -> &ModelLock {
        &self.models
    }

    /// The platform that the bento was built for.
    pub(super) fn platform(&self) -> Platform {
        Platform::linux(self.architecture.name())
    }

    /// Whether it has a base for this suite and architecture, whatever packages those are.
    pub(super) fn has_base_for(&self, request: &Request) -> bool {
        let is_for = |lock: &Lock| lock.suite == request.suite && lock.architecture == request.architecture;
        self.base.as_ref().is_some_and(|answer| is_for(&answer.lock))
    }

    /// The packages of exactly this request.
    pub(super) fn find(&self, request: &Request) -> Option<&Lock> {
        let digest = request.digest();
        let mut answers = [&self.base, &self.system_packages].into_iter().flatten();
        answers.find(|answer| answer.request == digest).map(|answer| &answer.lock)
    }

    /// The lock's one form as bytes.
    pub(super) fn to_json(&self) -> Vec<u8> {
        json::canonical(&Document {
            format: FORMAT,
            platform: self.platform().to_string(),
            base: self.base.clone(),
            system_packages: self.system_packages.clone(),
            hub: self.models.clone(),
        })
    }

    /// Reads the lock of the bento at `bento`, if that has one.
    pub(super) fn read(bento: &Path) -> Result<Option<Self>, ImageLockError> {
        let path = bento.join(IMAGE_LOCK);
        let bytes = bytes(&path).and_then(|bytes| bytes.map(|bytes| Self::from_json(&bytes)).transpose());
        bytes.map_err(|source| ImageLockError { path, source })
    }

    fn from_json(bytes: &[u8]) -> Result<Self, ImageLockDefect> {
        let Head { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(ImageLockDefect::Format { format });
        }
        let Document { platform, base, system_packages, hub, .. } = serde_json::from_slice(bytes)?;
        let architecture = architecture(&platform)
            .ok_or_else(|| ImageLockDefect::Platform { platform: platform.clone() })?;
        for Answer { lock, .. } in [&base, &system_packages].into_iter().flatten() {
            lock.check()?;
            if lock.architecture != architecture {
                return Err(ImageLockDefect::OtherPlatform { platform });
            }
        }
        hub.check()?;
        Ok(Self { architecture, base, system_packages, models: hub })
    }
}

fn architecture(platform: &str) -> Option<Architecture> {
    let parsed: Platform = platform.parse().ok()?;
    Architecture::of(&parsed).ok().filter(|_| parsed.variant.is_none())
}

/// The bytes of a file that may be anything.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>, ImageLockDefect> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(ImageLockDefect::Kind),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(ImageLockDefect::Size { limit: SIZE_LIMIT });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::LockedPackage;

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            archive: "bookworm".to_owned(),
            filename: format!("pool/{name}_1_all.deb"),
            size: 3,
            digest: Digest::of(name.as_bytes()),
        }
    }

    fn example() -> (ImageLock, Request, Request) {
        let base = Request::python_base("bookworm", Architecture::Arm64);
        let lock = Lock::new("bookworm", Architecture::Arm64, vec![package("python3")]);
        let more = Request::on_top(&lock, vec!["curl".to_owned()]);
        let on_top = Lock::new("bookworm", Architecture::Arm64, vec![package("curl")]);
        let image = ImageLock::new(Architecture::Arm64).with_base(&base, lock);
        (image.with_system_packages(&more, on_top), base, more)
    }

    fn read(bytes: &[u8]) -> Result<Option<ImageLock>, ImageLockError> {
        let bento = tempfile::tempdir().unwrap();
        fs::create_dir(bento.path().join("env")).unwrap();
        fs::write(bento.path().join(IMAGE_LOCK), bytes).unwrap();
        ImageLock::read(bento.path())
    }

    #[test]
    fn a_lock_is_read_back_and_answers_its_own_requests_only() {
        let (lock, base, more) = example();
        let read = read(&lock.to_json()).unwrap().unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.platform(), Platform::linux("arm64"));
        assert_eq!(read.find(&base).unwrap().packages[0].name, "python3");
        assert_eq!(read.find(&more).unwrap().packages[0].name, "curl");
        let mut other = base.clone();
        other.packages.push("git".to_owned());
        assert!(read.find(&other).is_none() && read.has_base_for(&other));
        let other = Request::python_base("bookworm", Architecture::Amd64);
        assert!(read.find(&other).is_none() && !read.has_base_for(&other));
        assert!(ImageLock::read(Path::new("/nonexistent")).unwrap().is_none());
    }

    #[test]
    fn the_file_is_canonical() {
        let empty = ImageLock::new(Architecture::Amd64).to_json();
        assert_eq!(empty, br#"{"format":1,"platform":"linux/amd64"}"#);
        let text = String::from_utf8(example().0.to_json()).unwrap();
        assert!(
            text.starts_with(r#"{"base":{"lock":{"architecture":"arm64","format":1,"packages":[{"#),
            "{text}"
        );
    }

    #[test]
    fn a_lock_that_cannot_be_trusted_is_refused_with_its_file() {
        let text = String::from_utf8(example().0.to_json()).unwrap();
        let digest = Digest::of(b"curl").to_string();
        for (spoilt, expected) in [
            ("not json".to_owned(), "it is not an image lock"),
            ("{}".to_owned(), "it is not an image lock"),
            (
                text.replace(r#""format":1,"platform""#, r#""format":2,"new":0,"platform""#),
                "its format 2 is unknown",
            ),
            (text.replace(r#""format":1,"packages""#, r#""format":7,"packages""#), "unknown format 7"),
            (text.replace(r#""platform":"#, r#""extra":0,"platform":"#), "it is not an image lock"),
            (text.replace("linux/arm64", "linux/s390x"), "its platform `linux/s390x` is none"),
            (text.replace("linux/arm64", "linux/arm64/v8"), "its platform `linux/arm64/v8` is none"),
            (text.replace("linux/arm64", "linux/amd64"), "its packages are not for its platform"),
            (text.replace(&digest, "sha256:123"), "it is not an image lock"),
            (text.replace(&digest, &digest.replace("sha256", "md5")), "it is not an image lock"),
            (text.replace("pool/curl", "pool/../../curl"), "the package `curl` has an unusable file name"),
            (
                text.replace(r#""name":"curl""#, r#""name":"../curl""#),
                "the package `../curl` has an unusable name",
            ),
            (text.replace(r#""size":3"#, r#""size":99999999999999"#), "has an unusable size"),
            (text.replace(r#""size":3"#, r#""size":-1"#), "it is not an image lock"),
            (
                text.replace(r#""suite":"bookworm""#, r#""suite":"../bookworm""#),
                "is not the name of a Debian suite",
            ),
            (format!("[{}", "[".repeat(100_000)), "it is not an image lock"),
            (" ".repeat(33 << 20), "it has more than 33554432 bytes"),
        ] {
            assert_ne!(spoilt, text, "{expected}");
            let error = read(spoilt.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(IMAGE_LOCK), "{error}");
            assert!(error.source.to_string().contains(expected), "{} instead of {expected}", error.source);
        }
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let bento = tempfile::tempdir().unwrap();
        fs::create_dir(bento.path().join("env")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", bento.path().join(IMAGE_LOCK)).unwrap();
        let error = ImageLock::read(bento.path()).unwrap_err();
        assert!(matches!(error.source, ImageLockDefect::Kind), "{error}");
    }
}
