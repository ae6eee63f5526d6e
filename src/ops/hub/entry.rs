//! What `bento.yaml` says of a model of the hub, key by key as the original tool writes it.

use md5::{Digest as _, Md5};
use serde_json::json;
use thiserror::Error;

use crate::hub::{Commit, ParseRepositoryError, Patterns, Repository, Wanted, python_json};
use crate::store::{CreationTime, PinnedModel};
use crate::tag::{self, Tag};
use crate::yaml::Value;

/// The registry of models of a hub.
pub const HUB_REGISTRY: &str = "huggingface";
/// The hub of entries that name none.
const PUBLIC: &str = "https://huggingface.co";

/// An entry does not say which model it means.
#[derive(Debug, Error)]
pub enum HubEntryError {
    /// Its repository is none.
    #[error("model `{tag}` is of no repository")]
    Repository {
        /// The model's tag.
        tag: Tag,
        /// Why.
        source: ParseRepositoryError,
    },
    /// It is of a registry that is not known.
    #[error("model `{tag}` comes from registry `{registry}`, which ekiben does not know")]
    Registry {
        /// The model's tag.
        tag: Tag,
        /// The registry.
        registry: String,
    },
}

/// The entry of a model at a commit.
///
/// The version is the MD5 of the metadata as Python's `json.dumps(metadata, sort_keys=True, separators=(",", ":"))`
/// writes it; the name is the repository's, in lower case.
pub(in crate::ops) fn pinned(
    wanted: &Wanted,
    commit: &Commit,
    time: CreationTime,
) -> Result<PinnedModel, tag::Error> {
    let Wanted { repository, patterns, .. } = wanted;
    let metadata = [
        ("model_id", repository.id.as_str().to_lowercase().into()),
        ("revision", commit.as_str().into()),
        ("endpoint", repository.endpoint.as_str().into()),
        ("include", list(patterns.include.as_deref())),
        ("exclude", list(patterns.exclude.as_deref())),
    ];
    let document = json!({
        "endpoint": repository.endpoint,
        "exclude": patterns.exclude,
        "include": patterns.include,
        "model_id": repository.id.as_str().to_lowercase(),
        "revision": commit.as_str(),
    });
    let version = Md5::digest(python_json::compact(&document));
    let version = version.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    Ok(PinnedModel {
        tag: Tag::new(&repository.id.model_name(&version), &version)?,
        module: None,
        creation_time: time,
        alias: None,
        registry: HUB_REGISTRY.to_owned(),
        metadata: Some(Value::map(metadata)),
    })
}

/// The model that an entry means. Very old entries have no metadata: their tag says it all.
pub(in crate::ops) fn wanted(model: &PinnedModel) -> Result<Wanted, HubEntryError> {
    let tag = &model.tag;
    if model.registry != HUB_REGISTRY {
        return Err(HubEntryError::Registry { tag: tag.clone(), registry: model.registry.clone() });
    }
    let text = |key: &str| Some(model.metadata.as_ref()?.get(key)?.as_text()?.to_owned());
    let patterns = |key: &str| {
        let value = model.metadata.as_ref()?.get(key)?;
        match value.as_list() {
            Some(items) => Some(items.iter().filter_map(Value::as_text).map(str::to_owned).collect()),
            None => Some(vec![value.as_text()?.to_owned()]),
        }
    };
    let id = text("model_id").unwrap_or_else(|| tag.name().replacen("--", "/", 1));
    let id = id.parse().map_err(|source| HubEntryError::Repository { tag: tag.clone(), source })?;
    let endpoint = text("endpoint").unwrap_or_else(|| PUBLIC.to_owned()).trim_end_matches('/').to_owned();
    Ok(Wanted {
        repository: Repository { endpoint, id },
        revision: text("revision").unwrap_or_else(|| tag.version().to_owned()),
        patterns: Patterns { include: patterns("include"), exclude: patterns("exclude") },
    })
}

fn list(patterns: Option<&[String]>) -> Value {
    patterns.map_or(Value::Null, |patterns| Value::list(patterns.iter().map(|text| text.as_str().into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Wanted, Commit) {
        let repository =
            Repository { endpoint: "http://127.0.0.1:18991".to_owned(), id: "Org/My-Model".parse().unwrap() };
        let patterns = Patterns { include: None, exclude: Some(vec!["*.bin".to_owned()]) };
        let commit = Commit::new("0123456789abcdef0123456789abcdef01234567").unwrap();
        (Wanted { repository, revision: "main".to_owned(), patterns }, commit)
    }

    #[test]
    fn an_entry_is_the_one_that_the_original_tool_writes() {
        let (wanted, commit) = example();
        let time = CreationTime::new("2026-11-21T22:25:33.050015Z".parse().unwrap());
        let entry = pinned(&wanted, &commit, time).unwrap();
        assert_eq!(entry.tag.to_string(), "org--my-model:2aa09655cd8074ba61a5e9ff004581b4");
    }

    #[test]
    fn an_entry_is_read_back() {
        let (asked, commit) = example();
        let time = CreationTime::new(jiff::Timestamp::UNIX_EPOCH);
        let read = wanted(&pinned(&asked, &commit, time.clone()).unwrap()).unwrap();
        assert_eq!(read.repository.id.as_str(), "org/my-model");
        assert_eq!((read.revision.as_str(), &read.patterns), (commit.as_str(), &asked.patterns));
        let bare = PinnedModel { metadata: None, ..pinned(&asked, &commit, time.clone()).unwrap() };
        let read = wanted(&bare).unwrap();
        assert_eq!(
            (read.repository.id.as_str(), read.repository.endpoint.as_str()),
            ("org/my-model", PUBLIC)
        );
        let other = PinnedModel { registry: "other".to_owned(), ..bare };
        assert!(wanted(&other).is_err());
    }

    #[test]
    fn one_pattern_is_a_list_of_one() {
        let (asked, commit) = example();
        let time = CreationTime::new(jiff::Timestamp::UNIX_EPOCH);
        let mut entry = pinned(&asked, &commit, time).unwrap();
        entry.metadata = Some(Value::map([("model_id", "a/b".into()), ("include", "onnx/".into())]));
        assert_eq!(wanted(&entry).unwrap().patterns.include, Some(vec!["onnx/".to_owned()]));
    }
}
