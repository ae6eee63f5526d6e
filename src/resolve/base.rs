//! What a base image has: its Python, its users, its packages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ResolveError;
use crate::fs;
use crate::oci::config::env_value;
use crate::oci::image::Image;
use crate::oci::layer::Layer;

/// Where interpreters are when the image has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Files whose contents matter, without the leading slash.
const TEXTS: [&str; 5] =
    ["etc/passwd", "etc/group", "etc/os-release", "usr/lib/os-release", "var/lib/dpkg/status"];
/// Directory of a distroless image's package entries.
const STATUS_DIRECTORY: &str = "var/lib/dpkg/status.d/";
/// Largest text that is kept; a full Debian's package status has about 1 MB.
const MAX_TEXT: u64 = 16 << 20;
/// Changes whenever the same layers would give other facts.
const FACTS_VERSION: u32 = 1;

/// What there is to know about a base image's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFacts {
    /// Interpreters by version (`3.11`), with their absolute paths; where there are several, the first of `PATH`.
    pub pythons: BTreeMap<String, String>,
    /// Contents of the small files that say who and what is in the image, by path.
    pub texts: BTreeMap<String, String>,
    /// Whether the C library is musl.
    pub is_musl: bool,
    /// Whether `/bin` and `/lib` are links into `/usr`.
    pub is_usr_merged: bool,
}

impl BaseFacts {
    /// Reads the facts of `image` from its layers, or from the cache directory where they were read before.
    pub fn of(image: &Image, base: &str, cache: &Path) -> Result<Self, ResolveError> {
        let path = cache.join("bases").join(format!("{}.v{FACTS_VERSION}.json", image.config_digest().hex()));
        if let Some(facts) = fs::read_if_present(&path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok())
        {
            return Ok(facts);
        }
        let facts =
            Self::read(image).map_err(|source| ResolveError::Base { base: base.to_owned(), source })?;
        fs::write_atomically(&path, &serde_json::to_vec(&facts).expect("facts are plain data"))?;
        Ok(facts)
    }

    fn read(image: &Image) -> io::Result<Self> {
        let mut seen = Seen::default();
        for layer in image.layers() {
            seen.apply(layer)?;
        }
        let path = env_value(image.document(), "PATH").unwrap_or(DEFAULT_PATH);
        Ok(seen.facts(path))
    }

    /// The interpreter of that version.
    pub fn python(&self, version: &str, base: &str) -> Result<&str, ResolveError> {
        if self.is_musl {
            return Err(ResolveError::Musl { base: base.to_owned() });
        }
        self.pythons.get(version).map(String::as_str).ok_or_else(|| ResolveError::NoPython {
            base: base.to_owned(),
            wanted: version.to_owned(),
            others: self.pythons.keys().cloned().collect(),
        })
    }

    /// The suite of a Debian image, from the code name in its `os-release` (os-release(5)).
    pub fn debian_suite(&self) -> Option<String> {
        let text = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| self.texts.get(*path))?;
        let field = |name: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            values.next().map(|value| value.trim_matches('"').to_owned())
        };
        field("VERSION_CODENAME").filter(|_| field("ID").as_deref() == Some("debian"))
    }

    /// The text of the package status of a Debian-family image: of `status`, or of the entries of `status.d`.
    pub fn dpkg_status(&self) -> Option<String> {
        if let Some(status) = self.texts.get("var/lib/dpkg/status") {
            return Some(status.clone());
        }
        let entries: Vec<_> =
            self.texts.iter().filter(|(path, _)| path.starts_with(STATUS_DIRECTORY)).collect();
        if entries.is_empty() {
            return None;
        }
        Some(entries.iter().map(|(_, text)| text.trim_end()).collect::<Vec<_>>().join("\n\n"))
    }
}

/// The image's files of interest after the layers read so far.
#[derive(Default)]
struct Seen {
    pythons: BTreeSet<String>,
    texts: BTreeMap<String, String>,
    is_musl: bool,
    is_usr_merged: bool,
}

impl Seen {
    fn apply(&mut self, layer: &Layer) -> io::Result<()> {
        let mut tar = tar::Archive::new(layer.open_tar()?);
        for entry in tar.entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            if let Some(hidden) = name.strip_prefix(".wh.") {
                self.remove(directory, hidden);
            } else if TEXTS.contains(&path) || path.starts_with(STATUS_DIRECTORY) {
                let mut text = Vec::new();
                entry.by_ref().take(MAX_TEXT).read_to_end(&mut text)?;
                if entry.header().entry_type().is_file() {
                    self.texts.insert(path.to_owned(), String::from_utf8_lossy(&text).into_owned());
                }
            } else if python_version(name).is_some() && !entry.header().entry_type().is_dir() {
                self.pythons.insert(path.to_owned());
            } else if name.starts_with("ld-musl-") {
                self.is_musl = true;
            } else if path == "bin" {
                self.is_usr_merged = entry.header().entry_type().is_symlink();
            }
        }
        Ok(())
    }

    fn remove(&mut self, directory: &str, hidden: &str) {
        let path = if directory.is_empty() { hidden.to_owned() } else { format!("{directory}/{hidden}") };
        let is_gone = |other: &str| match hidden {
            // An opaque directory hides all that lower layers have in it (image-spec, layer.md, Opaque Whiteout).
            ".wh..opq" => other.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')),
            _ => other == path || other.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')),
        };
        self.pythons.retain(|other| !is_gone(other));
        self.texts.retain(|other, _| !is_gone(other));
    }

    fn facts(self, search_path: &str) -> BaseFacts {
        let mut pythons = BTreeMap::new();
        for directory in search_path.split(':') {
            for python in &self.pythons {
                let Some((place, name)) = python.rsplit_once('/') else { continue };
                if let Some(version) = python_version(name).filter(|_| format!("/{place}") == directory) {
                    pythons.entry(version.to_owned()).or_insert_with(|| format!("/{python}"));
                }
            }
        }
        BaseFacts { pythons, texts: self.texts, is_musl: self.is_musl, is_usr_merged: self.is_usr_merged }
    }
}

/// The version in an interpreter's file name: `3.11` of `python3.11`.
fn python_version(name: &str) -> Option<&str> {
    let version = name.strip_prefix("python")?;
    let (major, minor) = version.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::blob::Blob as _;
    use crate::oci::platform::Platform;
    use crate::oci::tar::VirtualTar;
    use crate::oci::tree::{Content, Entry, Owner, Tree};

    fn layer(paths: &[&str]) -> Layer {
        let mut tree = Tree::new();
        for path in paths {
            let file = Entry::file(Content::from(format!("text of {path}")), 0o755, Owner::ROOT);
            tree.insert(path, file).unwrap();
        }
        let mut bytes = Vec::new();
        VirtualTar::new(&tree, 0).open_at(0).unwrap().read_to_end(&mut bytes).unwrap();
        Layer::from_bytes(bytes.into(), "test")
    }

    /// A layer that deletes, which trees refuse to hold.
    fn deleting(path: &str) -> Layer {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_cksum();
        builder.append_data(&mut header, path, io::empty()).unwrap();
        Layer::from_bytes(builder.into_inner().unwrap().into(), "test")
    }

    fn facts(layers: Vec<Layer>) -> BaseFacts {
        let directory = tempfile::tempdir().unwrap();
        let image = Image::scratch(&Platform::linux("amd64")).append(layers);
        let facts = BaseFacts::of(&image, "test", directory.path()).unwrap();
        assert_eq!(
            BaseFacts::of(&image, "test", directory.path()).unwrap(),
            facts,
            "the cache says the same"
        );
        facts
    }

    #[test]
    fn the_first_interpreter_on_the_path_counts() {
        let facts = facts(vec![layer(&[
            "usr/bin/python3.11",
            "usr/local/bin/python3.11",
            "opt/python3.12",
            "etc/passwd",
        ])]);
        assert_eq!(facts.python("3.11", "test").unwrap(), "/usr/local/bin/python3.11");
        assert_eq!(facts.texts["etc/passwd"], "text of etc/passwd");
        let error = facts.python("3.13", "test").unwrap_err();
        assert_eq!(error.to_string(), "the base image `test` has no Python 3.13, only Python 3.11");
    }

    #[test]
    fn whiteouts_delete_what_lower_layers_had() {
        let base = || layer(&["usr/bin/python3.11", "var/lib/dpkg/status.d/a"]);
        assert_eq!(facts(vec![base(), deleting("usr/bin/.wh.python3.11")]).pythons, BTreeMap::new());
        assert_eq!(facts(vec![base(), deleting("usr/.wh..wh..opq")]).pythons, BTreeMap::new());
        let facts = facts(vec![base(), deleting("var/lib/dpkg/.wh.status.d")]);
        assert_eq!((facts.pythons.len(), facts.dpkg_status()), (1, None));
    }

    #[test]
    fn musl_is_told_apart() {
        let facts = facts(vec![layer(&["lib/ld-musl-x86_64.so.1", "usr/bin/python3.11"])]);
        assert!(matches!(facts.python("3.11", "test"), Err(ResolveError::Musl { .. })));
    }
}
