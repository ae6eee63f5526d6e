//! A lock: which wheel of which package, with its hash.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::error::Error;
use super::index::IndexOptions;
use super::target::Target;

/// First line of a lock that this module writes.
const HEADER: &str = "lock-version = \"1.0\"\ncreated-by = \"ekiben\"\n";

/// Ordered, hashed packages for one Python version and platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockedEnv {
    /// The packages, by name.
    pub packages: Vec<LockedPackage>,
}

/// One wheel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackage {
    /// Normalised name.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// The wheel's file name.
    pub wheel: String,
    /// Where it is.
    pub source: WheelSource,
    /// Its size, where the index told.
    pub size: Option<u64>,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Where a wheel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WheelSource {
    /// On an index, chosen by version.
    Index {
        /// Its URL, without credentials.
        url: String,
    },
    /// At a URL that the requirement names.
    Url {
        /// The URL, without credentials.
        url: String,
    },
    /// A file on this machine.
    File {
        /// Its absolute path.
        path: PathBuf,
    },
}

impl LockedEnv {
    /// Whether every wheel runs on `target`: by the tags in its file name (binary distribution format, File name
    /// convention).
    pub fn fits(&self, target: &Target) -> bool {
        let python_tag = target.python.cache_tag().replace("cpython-", "cp");
        let machine = target.architecture.machine();
        self.packages.iter().all(|package| {
            let stem = package.wheel.strip_suffix(".whl").unwrap_or(&package.wheel);
            let mut tags = stem.rsplit('-');
            let (Some(platform), Some(abi), Some(python)) = (tags.next(), tags.next(), tags.next()) else {
                return false;
            };
            let is_python = |tag: &str| tag.starts_with("py3") || tag == python_tag || abi.contains("abi3");
            python.split('.').any(is_python) && (platform == "any" || platform.contains(machine))
        })
    }

    /// Reads a lock for one platform; relative paths are relative to `directory`.
    ///
    /// # Errors
    /// It is no lock, a package has no wheel, several, or one without SHA-256.
    pub fn from_pylock(text: &str, directory: &Path) -> Result<Self, Error> {
        let raw: RawLock =
            toml::from_str(text).map_err(|error| Error::Lock { reason: error.message().to_owned() })?;
        if raw.lock_version != "1.0" {
            return Err(Error::Lock { reason: format!("unknown version `{}`", raw.lock_version) });
        }
        let packages = raw.packages.into_iter().map(|package| package.complete(directory));
        let mut packages = packages.collect::<Result<Vec<_>, _>>()?;
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { packages })
    }

    /// Writes the lock (PEP 751); wheel files below `directory` are named relative to it.
    pub fn to_pylock(&self, directory: &Path) -> String {
        let mut text = HEADER.to_owned();
        for package in &self.packages {
            package.write(&mut text, directory);
        }
        text
    }

    /// Writes `requirements.txt` as upstream's lock step does: index options, then pinned names.
    pub fn to_requirements(&self, index: &IndexOptions, directory: &Path) -> String {
        let mut text = String::new();
        for line in index.lines() {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
        for package in &self.packages {
            let _ = match &package.source {
                WheelSource::Index { .. } => writeln!(text, "{}=={}", package.name, package.version),
                WheelSource::Url { url } => writeln!(text, "{} @ {url}", package.name),
                WheelSource::File { path } => writeln!(text, "{}", relative(path, directory, true)),
            };
        }
        text
    }
}

impl LockedPackage {
    fn write(&self, text: &mut String, directory: &Path) {
        let quoted = |value: &str| toml::Value::String(value.to_owned()).to_string();
        let size = self.size.map_or(String::new(), |size| format!(", size = {size}"));
        let hash = format!("{size}, hashes = {{ sha256 = {} }}", quoted(&self.sha256));
        let _ = write!(
            text,
            "\n[[packages]]\nname = {}\nversion = {}\n",
            quoted(&self.name),
            quoted(&self.version)
        );
        let _ = match &self.source {
            WheelSource::Index { url } => writeln!(text, "wheels = [{{ url = {}{hash} }}]", quoted(url)),
            WheelSource::Url { url } => writeln!(text, "archive = {{ url = {}{hash} }}", quoted(url)),
            WheelSource::File { path } => {
                let path = quoted(&relative(path, directory, false));
                writeln!(text, "archive = {{ path = {path}{hash} }}")
            }
        };
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawLock {
    lock_version: String,
    #[serde(default)]
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    version: Option<String>,
    #[serde(default)]
    wheels: Vec<RawArtifact>,
    archive: Option<RawArtifact>,
}

#[derive(Deserialize)]
struct RawArtifact {
    name: Option<String>,
    url: Option<String>,
    path: Option<PathBuf>,
    size: Option<u64>,
    #[serde(default)]
    hashes: RawHashes,
}

#[derive(Default, Deserialize)]
struct RawHashes {
    sha256: Option<String>,
}

impl RawPackage {
    fn complete(mut self, directory: &Path) -> Result<LockedPackage, Error> {
        let is_direct = self.wheels.is_empty();
        let artifact = match self.wheels.len() {
            0 => self.archive.take(),
            1 => self.wheels.pop(),
            count => return Err(Error::SeveralWheels { package: self.name, count }),
        };
        let no_wheel = || Error::LockedWithoutWheel { package: self.name.clone() };
        let artifact = artifact.ok_or_else(no_wheel)?;
        let invalid = |what: &str| Error::Lock { reason: format!("package `{}` {what}", self.name) };
        let sha256 = artifact.hashes.sha256.clone().ok_or_else(|| invalid("has no SHA-256"))?;
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("has a SHA-256 that is none"));
        }
        let source = artifact.source(directory, is_direct).ok_or_else(|| invalid("has no URL or path"))?;
        let wheel = artifact.name.clone().unwrap_or_else(|| source.file_name());
        let fields: Vec<&str> = wheel.strip_suffix(".whl").ok_or_else(no_wheel)?.split('-').collect();
        if wheel.contains('/') || !(5..=6).contains(&fields.len()) {
            return Err(invalid("has a wheel without a wheel's name"));
        }
        let version = self.version.clone().unwrap_or_else(|| fields[1].replace('_', "-"));
        let size = artifact.size.or_else(|| source.file_size());
        Ok(LockedPackage { name: self.name.clone(), version, wheel, source, size, sha256 })
    }
}

impl RawArtifact {
    fn source(&self, directory: &Path, is_direct: bool) -> Option<WheelSource> {
        if let Some(path) = &self.path {
            return Some(WheelSource::File { path: directory.join(path) });
        }
        let mut url = Url::parse(self.url.as_deref()?).ok()?;
        if url.scheme() == "file" {
            return Some(WheelSource::File { path: url.to_file_path().ok()? });
        }
        // Refused for URLs without a host only, which hold no credentials either.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let url = url.to_string();
        Some(if is_direct { WheelSource::Url { url } } else { WheelSource::Index { url } })
    }
}

impl WheelSource {
    fn file_name(&self) -> String {
        match self {
            Self::File { path } => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Index { url } | Self::Url { url } => {
                let path = url.split(['?', '#']).next().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned()
            }
        }
    }

    fn file_size(&self) -> Option<u64> {
        match self {
            Self::File { path } => std::fs::metadata(path).ok().map(|metadata| metadata.len()),
            Self::Index { .. } | Self::Url { .. } => None,
        }
    }
}

fn relative(path: &Path, directory: &Path, dotted: bool) -> String {
    match path.strip_prefix(directory) {
        Ok(inside) if dotted => format!("./{}", inside.display()),
        Ok(inside) => inside.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";

    fn lock(body: &str) -> Result<LockedEnv, Error> {
        LockedEnv::from_pylock(
            &format!("lock-version = \"1.0\"\ncreated-by = \"uv\"\n{body}"),
            Path::new("/work"),
        )
    }

    fn package(artifact: &str) -> String {
        format!("[[packages]]\nname = \"six\"\nversion = \"1.17.0\"\n{artifact}\n")
    }

    #[test]
    fn locks_round_trip_without_credentials() {
        let url = "https://me:pw@host/six-1.17.0-py2.py3-none-any.whl";
        for (artifact, written) in [
            (
                format!(
                    "wheels = [{{ url = \"{url}\", upload-time = 2024-01-01T00:00:00Z, size = 7, hashes = {{ sha256 = \"{HASH}\" }} }}]"
                ),
                "wheels = [{ url = \"https://host/six-1.17.0-py2.py3-none-any.whl\", size = 7, hashes",
            ),
            (
                format!("archive = {{ url = \"{url}#x\", hashes = {{ sha256 = \"{HASH}\" }} }}"),
                "archive = { url = \"https://host/six-1.17.0-py2.py3-none-any.whl\", hashes",
            ),
            (
                format!(
                    "archive = {{ path = \"wheels/six-1.17.0-py2.py3-none-any.whl\", hashes = {{ sha256 = \"{HASH}\" }} }}"
                ),
                "archive = { path = \"wheels/six-1.17.0-py2.py3-none-any.whl\", hashes",
            ),
            (
                format!(
                    "wheels = [{{ url = \"file:///other/six-1.17.0-py2.py3-none-any.whl\", hashes = {{ sha256 = \"{HASH}\" }} }}]"
                ),
                "archive = { path = \"/other/six-1.17.0-py2.py3-none-any.whl\", hashes",
            ),
        ] {
            let env = lock(&package(&artifact)).unwrap();
            let text = env.to_pylock(Path::new("/work"));
            assert!(text.contains(written), "{text}");
            assert_eq!(LockedEnv::from_pylock(&text, Path::new("/work")).unwrap(), env);
            assert_eq!(env.packages[0].wheel, "six-1.17.0-py2.py3-none-any.whl");
        }
    }

    #[test]
    fn requirements_are_written_in_upstreams_style() {
        let both = format!(
            "{}[[packages]]\nname = \"abc\"\narchive = {{ path = \"wheels/abc-2-py3-none-any.whl\", hashes = {{ sha256 = \"{HASH}\" }} }}\n",
            package(&format!(
                "wheels = [{{ url = \"https://h/six-1.17.0-py3-none-any.whl\", hashes = {{ sha256 = \"{HASH}\" }} }}]"
            ))
        );
        assert_eq!(
            lock(&both).unwrap().to_requirements(&IndexOptions::default(), Path::new("/work")),
            "--index-url https://pypi.org/simple\n\n./wheels/abc-2-py3-none-any.whl\nsix==1.17.0\n"
        );
    }

    #[test]
    fn bad_locks_are_refused_with_the_package() {
        let wheel = "url = \"https://h/six-1.17.0-py3-none-any.whl\"";
        for (artifact, message) in [
            (String::new(), "locked package `six` has no wheel, only a source distribution".to_owned()),
            (
                format!("archive = {{ url = \"https://h/six.tar.gz\", hashes = {{ sha256 = \"{HASH}\" }} }}"),
                "locked package `six` has no wheel, only a source distribution".to_owned(),
            ),
            (
                format!("wheels = [{{ {wheel} }}]"),
                "cannot read the Python lock: package `six` has no SHA-256".to_owned(),
            ),
            (
                format!("wheels = [{{ {wheel}, hashes = {{ sha256 = \"../../etc\" }} }}]"),
                "cannot read the Python lock: package `six` has a SHA-256 that is none".to_owned(),
            ),
            (
                format!("wheels = [{{ {wheel}, hashes = {{ sha256 = \"{HASH}\" }} }}, {{ {wheel} }}]"),
                "locked package `six` has 2 wheels; lock for one platform and Python version".to_owned(),
            ),
            (
                format!(
                    "wheels = [{{ url = \"https://h/..%2fsix-1-py3-none-any.whl\", hashes = {{ sha256 = \"{HASH}\" }} }}]"
                ),
                "cannot read the Python lock: package `six` has a wheel without a wheel's name".to_owned(),
            ),
        ] {
            assert_eq!(lock(&package(&artifact)).unwrap_err().to_string(), message);
        }
        assert!(LockedEnv::from_pylock("nonsense", Path::new("/")).is_err());
        assert!(LockedEnv::from_pylock("lock-version = \"9\"", Path::new("/")).is_err());
    }
}
