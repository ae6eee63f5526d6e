//! The models that a service declares, and the directories that the workers will find them in.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::env::Environment;

/// The version that stands for the newest one.
const LATEST: &str = "latest";

/// The registry of an entry of `bento.yaml` that is on the Hugging Face hub.
const HUB: &str = "huggingface";

/// A model that a service declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredModel {
    /// The directory of a model that was found already.
    Directory(PathBuf),
    /// A model of a store.
    Stored {
        /// Its name.
        name: String,
        /// Its version, or `latest`.
        version: String,
    },
    /// A snapshot of a repository on the Hugging Face hub.
    Hub {
        /// The repository.
        id: String,
        /// A commit, branch or tag.
        revision: String,
    },
}

/// Where workers look for models.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The directory of the model store.
    store: Option<PathBuf>,
    /// The cache of the Hugging Face hub.
    hub: Option<PathBuf>,
}

/// An entry of `models` in `bento.yaml`: in today's form, or the bare tag of old bentos.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Tag(String),
    Model {
        tag: String,
        #[serde(default)]
        registry: Option<String>,
        #[serde(default)]
        metadata: Option<HubMetadata>,
    },
}

/// What an entry says of a repository on the hub.
#[derive(Default, Deserialize)]
struct HubMetadata {
    #[serde(default)]
    model_id: Option<String>,
    #[serde(default)]
    revision: Option<String>,
}

impl DeclaredModel {
    /// Makes a model of a store's tag, `name` or `name:version`.
    pub fn stored(tag: &str) -> Self {
        let tag = tag.to_lowercase();
        let (name, version) = tag.split_once(':').unwrap_or((&tag, LATEST));
        Self::Stored { name: name.to_owned(), version: version.to_owned() }
    }

    /// Reads an entry of `models` in `bento.yaml`.
    pub(in crate::serve) fn from_entry(entry: &Json) -> Option<Self> {
        Entry::deserialize(entry).ok().map(Self::from)
    }
}

impl From<Entry> for DeclaredModel {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Model { tag, registry, metadata } if registry.as_deref() == Some(HUB) => {
                let metadata = metadata.unwrap_or_default();
                let (name, version) = tag.split_once(':').unwrap_or((&tag, "main"));
                let id = metadata.model_id.unwrap_or_else(|| name.replace("--", "/"));
                Self::Hub { id, revision: metadata.revision.unwrap_or_else(|| version.to_owned()) }
            }
            Entry::Tag(tag) | Entry::Model { tag, .. } => Self::stored(&tag),
        }
    }
}

impl fmt::Display for DeclaredModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Stored { name, version } => write!(f, "{name}:{version}"),
            Self::Hub { id, revision } => write!(f, "hf://{id}@{revision}"),
        }
    }
}

impl Places {
    /// Takes the places from the environment; a bento with models of its own has no other store.
    pub fn new(environment: &Environment, bento: Option<&Path>) -> Self {
        let own = bento.map(|bento| bento.join("models")).filter(|models| has_entries(models));
        Self {
            store: own.or_else(|| home(environment).map(|home| home.join("models"))),
            hub: hub(environment),
        }
    }

    /// Returns the directory of a model that is there.
    pub fn find(&self, model: &DeclaredModel) -> Option<PathBuf> {
        let found = match model {
            DeclaredModel::Directory(directory) => directory.clone(),
            DeclaredModel::Stored { name, version } => find_stored(self.store.as_deref()?, name, version)?,
            DeclaredModel::Hub { id, revision } => find_snapshot(self.hub.as_deref()?, id, revision)?,
        };
        found.is_dir().then_some(found)
    }
}

fn find_stored(store: &Path, name: &str, version: &str) -> Option<PathBuf> {
    let versions = store.join(inside(name)?);
    if version == LATEST {
        let newest = std::fs::read_to_string(versions.join(LATEST)).ok()?;
        return Some(versions.join(inside(newest.trim())?));
    }
    Some(versions.join(inside(version)?))
}

/// Finds a snapshot in the layout of the hub's own client; bentos have the repository's name in lower case.
fn find_snapshot(cache: &Path, id: &str, revision: &str) -> Option<PathBuf> {
    let folder = format!("models--{}", id.replace('/', "--"));
    let mut repository = cache.join(inside(&folder)?);
    if !repository.is_dir() {
        let mut entries = std::fs::read_dir(cache).ok()?.flatten();
        let is_same = |name: &str| name.eq_ignore_ascii_case(&folder);
        repository = entries.find(|entry| entry.file_name().to_str().is_some_and(is_same))?.path();
    }
    let revision = inside(revision)?;
    let snapshot = repository.join("snapshots").join(revision);
    if snapshot.is_dir() {
        return Some(snapshot);
    }
    let commit = std::fs::read_to_string(repository.join("refs").join(revision)).ok()?;
    Some(repository.join("snapshots").join(inside(commit.trim())?))
}

/// Lets only those names pass that stay in the directory to which they are joined.
fn inside(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    let stays = path.components().all(|component| matches!(component, Component::Normal(_)));
    (stays && !name.is_empty()).then_some(path)
}

fn has_entries(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// The directory of the stores, as workers take it.
fn home(environment: &Environment) -> Option<PathBuf> {
    environment.path("BENTOML_HOME").or_else(|| Some(environment.path("HOME")?.join("bentoml")))
}

/// The cache of the hub, as its own client takes it.
fn hub(environment: &Environment) -> Option<PathBuf> {
    let named = ["BENTOML_HF_CACHE_DIR", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];
    if let Some(cache) = named.iter().find_map(|variable| environment.path(variable)) {
        return Some(cache);
    }
    if let Some(home) = environment.path("HF_HOME") {
        return Some(home.join("hub"));
    }
    let caches = environment.path("XDG_CACHE_HOME");
    let caches = caches.or_else(|| Some(environment.path("HOME")?.join(".cache")))?;
    Some(caches.join("huggingface/hub"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn environment(variables: &[(&str, &Path)]) -> Environment {
        variables.iter().map(|(name, value)| (*name, value.as_os_str())).collect()
    }

    fn entry(yaml: &str) -> DeclaredModel {
        let json = crate::yaml::read_value(yaml).unwrap().to_json();
        DeclaredModel::from_entry(&json).unwrap()
    }

    #[test]
    fn entries_are_of_a_store_or_of_the_hub() {
        let stored = |name: &str, version: &str| DeclaredModel::Stored {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(entry("iris:v1"), stored("iris", "v1"));
        assert_eq!(entry("{tag: 'Iris:V1', registry: bentoml}"), stored("iris", "v1"));
        assert_eq!(entry("{tag: iris}"), stored("iris", "latest"));
        let hub =
            entry("{tag: 'a--b:f00', registry: huggingface, metadata: {model_id: A/b, revision: c0ffee}}");
        assert_eq!(hub, DeclaredModel::Hub { id: "A/b".to_owned(), revision: "c0ffee".to_owned() });
        let bare = entry("{tag: 'a--b:f00', registry: huggingface, metadata: null}");
        assert_eq!(bare.to_string(), "hf://a/b@f00");
    }

    #[test]
    fn the_bentos_own_store_comes_before_the_homes() {
        let root = tempfile::tempdir().unwrap();
        let (home, bento) = (root.path().join("home"), root.path().join("bento"));
        fs::create_dir_all(home.join("models/iris/v1")).unwrap();
        fs::write(home.join("models/iris/latest"), "v1\n").unwrap();
        fs::create_dir_all(bento.join("models")).unwrap();
        let environment = environment(&[("BENTOML_HOME", &home)]);
        let find = |tag: &str| Places::new(&environment, Some(&bento)).find(&DeclaredModel::stored(tag));
        assert_eq!(find("iris:v1"), Some(home.join("models/iris/v1")));
        assert_eq!(find("iris"), Some(home.join("models/iris/v1")));
        assert_eq!(find("iris:v2"), None);
        fs::create_dir_all(bento.join("models/iris/v2")).unwrap();
        assert_eq!(find("iris:v2"), Some(bento.join("models/iris/v2")));
        assert_eq!(find("iris:v1"), None);
    }

    #[test]
    fn snapshots_are_found_by_commit_and_by_branch_in_any_case() {
        let root = tempfile::tempdir().unwrap();
        let repository = root.path().join("models--Org--Name");
        fs::create_dir_all(repository.join("snapshots/c0ffee")).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), "c0ffee").unwrap();
        let snapshot = Some(repository.join("snapshots/c0ffee"));
        for places in ["BENTOML_HF_CACHE_DIR", "HF_HUB_CACHE"] {
            let places = Places::new(&environment(&[(places, root.path())]), None);
            for (id, revision) in [("Org/Name", "c0ffee"), ("org/name", "c0ffee"), ("org/name", "main")] {
                let model = DeclaredModel::Hub { id: id.to_owned(), revision: revision.to_owned() };
                assert_eq!(places.find(&model), snapshot, "{model}");
            }
            let other = DeclaredModel::Hub { id: "org/name".to_owned(), revision: "v2".to_owned() };
            assert_eq!(places.find(&other), None);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("models/name")).unwrap();
        fs::create_dir_all(root.path().join("secret/v1")).unwrap();
        fs::write(root.path().join("models/name/latest"), "../../secret/v1").unwrap();
        let places = Places::new(&environment(&[("BENTOML_HOME", root.path())]), None);
        for tag in ["../secret:v1", "name:../../secret/v1", "name", "name:"] {
            assert_eq!(places.find(&DeclaredModel::stored(tag)), None, "{tag}");
        }
        assert!(places.find(&DeclaredModel::Directory(root.path().join("secret/v1"))).is_some());
    }

    #[test]
    fn the_caches_place_is_that_of_the_hubs_client() {
        let at = |variables: &[(&str, &str)]| {
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, Path::new(value))).collect();
            hub(&environment(&variables)).unwrap().display().to_string()
        };
        assert_eq!(at(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(at(&[("HOME", "/h"), ("HF_HOME", "/f")]), "/f/hub");
        assert_eq!(at(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert_eq!(at(&[("HF_HUB_CACHE", "/c"), ("BENTOML_HF_CACHE_DIR", "/b")]), "/b");
    }
}
