//! The vectors of `testdata/store`, which the SDK's tests read too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ekiben::store::{CreationTime, Home, Model, ModelContext, ModelInfo};
use ekiben::tag::{Tag, TagQuery};
use ekiben::yaml::Value;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::support::sources::repository;

fn vectors<T: DeserializeOwned>(name: &str) -> T {
    let path = repository().join("testdata/store").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Deserialize)]
struct Tags {
    valid: Vec<ValidTag>,
    invalid: Vec<String>,
    reasons: BTreeMap<String, String>,
    ordered: Vec<String>,
    generated: String,
}

#[derive(Deserialize)]
struct ValidTag {
    text: String,
    name: String,
    version: Option<String>,
    directory: String,
}

#[test]
fn tags() {
    let tags: Tags = vectors("tags.json");
    for valid in &tags.valid {
        let query: TagQuery = valid.text.parse().unwrap_or_else(|error| panic!("{}: {error}", valid.text));
        assert_eq!((query.name(), query.version()), (valid.name.as_str(), valid.version.as_deref()));
        let directory = query.to_string().replace(':', "/");
        assert_eq!(directory, valid.directory);
    }
    for invalid in &tags.invalid {
        assert!(invalid.parse::<TagQuery>().is_err(), "{invalid:?} is taken for a tag");
    }
    for (text, reason) in &tags.reasons {
        let error = text.parse::<TagQuery>().expect_err("not a tag");
        assert_eq!(&error.to_string(), reason);
    }
    let mut sorted: Vec<Tag> = tags.ordered.iter().rev().map(|tag| tag.parse().expect("exact")).collect();
    sorted.sort();
    assert_eq!(sorted.iter().map(ToString::to_string).collect::<Vec<_>>(), tags.ordered);
    assert_eq!(tags.generated, "^[a-z2-7]{16}$");
    for _ in 0..100 {
        let version = Tag::generate("m").expect("generated").version().to_owned();
        assert_eq!(version.len(), 16, "{version}");
        assert!(version.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')), "{version}");
    }
}

#[derive(Deserialize)]
struct Described {
    file: String,
    name: String,
    version: String,
    module: String,
    labels: Json,
    options: Json,
    metadata: Json,
    context: DescribedContext,
    signatures: Json,
    api_version: String,
    creation_time: String,
}

#[derive(Deserialize)]
struct DescribedContext {
    framework_name: String,
    framework_versions: Json,
    bentoml_version: String,
    python_version: String,
}

impl Described {
    fn info(&self) -> ModelInfo {
        ModelInfo {
            tag: Tag::new(&self.name, &self.version).expect("valid"),
            module: self.module.clone(),
            labels: texts(&self.labels),
            options: value(&self.options),
            metadata: value(&self.metadata),
            context: ModelContext {
                framework_name: self.context.framework_name.clone(),
                framework_versions: texts(&self.context.framework_versions),
                bentoml_version: self.context.bentoml_version.clone(),
                python_version: self.context.python_version.clone(),
            },
            signatures: value(&self.signatures),
            api_version: self.api_version.clone(),
            creation_time: CreationTime::parse(&self.creation_time).expect("a time"),
        }
    }
}

fn texts(map: &Json) -> Vec<(String, String)> {
    let entries = map.as_object().expect("a map").iter();
    entries.map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned())).collect()
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number.as_i64().map_or_else(
            || Value::Float(number.as_f64().expect("a number of JSON is one")),
            |whole| Value::Int(whole.into()),
        ),
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::list(items.iter().map(value)),
        Json::Object(entries) => Value::map(entries.iter().map(|(key, item)| (key, value(item)))),
    }
}

#[test]
fn model_yaml() {
    let all: Vec<Described> = vectors("models.json");
    assert!(!all.is_empty());
    let directory = tempfile::tempdir().expect("a temporary directory");
    for described in &all {
        let path = repository().join("testdata/store/models").join(format!("{}.yaml", described.file));
        let expected = fs::read_to_string(&path).expect("readable");
        let info = described.info();
        assert_eq!(info.to_document().to_yaml(), expected, "{}", described.file);
        fs::write(directory.path().join("model.yaml"), &expected).expect("written");
        let read = <Model as ekiben::store::Item>::load(directory.path()).expect("readable");
        assert_eq!(read.info, info, "{}", described.file);
    }
}

#[derive(Deserialize)]
struct LatestVector {
    case: String,
    versions: BTreeMap<String, Option<String>>,
    pointer: Option<String>,
    latest: Option<String>,
}

#[test]
fn latest() {
    for vector in vectors::<Vec<LatestVector>>("latest.json") {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home::open(directory.path()).expect("opened");
        let name = directory.path().join("models/m");
        fs::create_dir(&name).expect("created");
        for (version, time) in &vector.versions {
            put(&name, version, time.as_deref());
        }
        if let Some(pointer) = &vector.pointer {
            fs::write(name.join("latest"), pointer).expect("written");
        }
        let found = home.models().get(&"m:latest".parse().expect("valid")).ok();
        let found = found.map(|model| model.info.tag.version().to_owned());
        assert_eq!(found, vector.latest, "{}", vector.case);
    }
}

fn put(name: &Path, version: &str, time: Option<&str>) {
    let path = name.join(version);
    fs::create_dir(&path).expect("created");
    if let Some(time) = time {
        let tag = Tag::new("m", version).expect("valid");
        let info = ModelInfo::of_files(tag, CreationTime::parse(time).expect("a time"));
        fs::write(path.join("model.yaml"), info.to_document().to_yaml()).expect("written");
    }
}

#[test]
fn a_listing_goes_on_without_what_is_broken() {
    for (case, content) in vectors::<BTreeMap<String, Option<String>>>("broken.json") {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home::open(directory.path()).expect("opened");
        let name = directory.path().join("models/m");
        fs::create_dir(&name).expect("created");
        put(&name, "good", Some("2026-01-01T00:00:00+00:00"));
        put(&name, "broken", None);
        if let Some(content) = content {
            fs::write(name.join("broken/model.yaml"), content).expect("written");
        }
        let listing = home.models().list(None).expect("listed");
        let tags: Vec<_> = listing.items.iter().map(|model| model.info.tag.to_string()).collect();
        assert_eq!(tags, ["m:good"], "{case}");
        assert_eq!(listing.broken.len(), 1, "{case}");
    }
}
