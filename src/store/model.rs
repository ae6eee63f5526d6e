//! Models and their `model.yaml`.

use std::path::{Path, PathBuf};

use super::fields::{Fields, label_map, texts};
use super::layout::Kind;
use super::{CreationTime, Error, Item};
use crate::tag::Tag;
use crate::yaml::Value;

/// The version of the original tool whose file formats are written.
pub const FORMAT_VERSION: &str = "1.4.39";

/// A model in the store.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its directory.
    pub path: PathBuf,
    /// What `model.yaml` says.
    pub info: ModelInfo,
    /// `model.yaml` as it is, unknown keys included.
    pub document: Value,
}

/// What is known about a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Name and version.
    pub tag: Tag,
    /// The framework module that can load it; empty for plain files.
    pub module: String,
    /// Labels in written order.
    pub labels: Vec<(String, String)>,
    /// Options of the framework module.
    pub options: Value,
    /// What the user wants to remember.
    pub metadata: Value,
    /// What wrote it.
    pub context: ModelContext,
    /// The methods a runner has.
    pub signatures: Value,
    /// The version of the framework module's format.
    pub api_version: String,
    /// When it was made.
    pub creation_time: CreationTime,
}

/// The surroundings in which a model was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelContext {
    /// The framework's name.
    pub framework_name: String,
    /// Versions of the framework's distributions.
    pub framework_versions: Vec<(String, String)>,
    /// The version of the tool.
    pub bentoml_version: String,
    /// The version of Python; empty when none was involved.
    pub python_version: String,
}

impl ModelContext {
    /// The context of plain files.
    pub fn of_files() -> Self {
        Self {
            framework_name: String::new(),
            framework_versions: Vec::new(),
            bentoml_version: FORMAT_VERSION.to_owned(),
            python_version: String::new(),
        }
    }
}

impl ModelInfo {
    /// Describes plain files, as `bentoml.models.create` does.
    pub fn of_files(tag: Tag, creation_time: CreationTime) -> Self {
        Self {
            tag,
            module: String::new(),
            labels: Vec::new(),
            options: Value::Map(Vec::new()),
            metadata: Value::Map(Vec::new()),
            context: ModelContext::of_files(),
            signatures: Value::Map(Vec::new()),
            api_version: "v1".to_owned(),
            creation_time,
        }
    }

    /// The content of `model.yaml`: every key, in the fixed order.
    pub fn to_document(&self) -> Value {
        let context = Value::map([
            ("framework_name", self.context.framework_name.as_str().into()),
            ("framework_versions", label_map(&self.context.framework_versions)),
            ("bentoml_version", self.context.bentoml_version.as_str().into()),
            ("python_version", self.context.python_version.as_str().into()),
        ]);
        Value::map([
            ("name", self.tag.name().into()),
            ("version", self.tag.version().into()),
            ("module", self.module.as_str().into()),
            ("labels", label_map(&self.labels)),
            ("options", self.options.clone()),
            ("metadata", self.metadata.clone()),
            ("context", context),
            ("signatures", self.signatures.clone()),
            ("api_version", self.api_version.as_str().into()),
            ("creation_time", self.creation_time.to_string().into()),
        ])
    }
}

impl Item for Model {
    const KIND: Kind = Kind::Model;

    fn of_document(path: &Path, document: Value) -> Result<Self, Error> {
        let fields = Fields::of(Self::KIND, path, document);
        let empty = || Value::Map(Vec::new());
        let info = ModelInfo {
            tag: fields.tag()?,
            module: fields.text_or("module", "")?,
            labels: fields.labels()?,
            options: fields.value_or("options", empty()),
            metadata: fields.value_or("metadata", empty()),
            context: context(&fields)?,
            signatures: fields.value_or("signatures", empty()),
            api_version: fields.text_or("api_version", "v1")?,
            creation_time: fields.time()?,
        };
        Ok(Self { path: path.to_owned(), info, document: fields.document })
    }

    fn tag(&self) -> &Tag {
        &self.info.tag
    }

    fn creation_time(&self) -> &CreationTime {
        &self.info.creation_time
    }
}

fn context(fields: &Fields) -> Result<ModelContext, Error> {
    let context = fields.value_or("context", Value::Map(Vec::new()));
    let text =
        |key: &str, default: &str| context.get(key).and_then(Value::as_text).unwrap_or(default).to_owned();
    let versions = context.get("framework_versions").map_or_else(|| Some(Vec::new()), texts);
    Ok(ModelContext {
        framework_name: text("framework_name", ""),
        framework_versions: versions.ok_or_else(|| fields.bad("context", "a map"))?,
        bentoml_version: text("bentoml_version", FORMAT_VERSION),
        python_version: text("python_version", ""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_written_in_the_fixed_order() {
        let tag = Tag::new("iris_clf", "xvmlqehf7sceaax4").unwrap();
        let time = CreationTime::parse("2026-11-21T22:41:49.651064+00:00").unwrap();
        let mut info = ModelInfo::of_files(tag, time);
        info.labels = vec![("owner".into(), "nlp_team".into())];
        info.metadata = Value::map([("acc", Value::Float(0.95))]);
        info.context.python_version = "3.13.0".into();
        insta::assert_snapshot!(info.to_document().to_yaml(), @r"
        name: iris_clf
        version: xvmlqehf7sceaax4
        module: ''
        labels:
          owner: nlp_team
        options: {}
        metadata:
          acc: 0.95
        context:
          framework_name: ''
          framework_versions: {}
          bentoml_version: 1.4.39
          python_version: 3.13.0
        signatures: {}
        api_version: v1
        creation_time: '2026-11-21T22:41:49.651064+00:00'
        ");
    }

    #[test]
    fn an_old_file_is_read_with_its_missing_keys_filled() {
        let directory = tempfile::tempdir().unwrap();
        let old = "name: a\nversion: 1.10\nbentoml_version: 0.13\nmodule: m\nlabels: {n: 3, b: true}\noptions: {}\nmetadata: {}\n\
                   context:\n  framework_name: f\n  pip_dependencies: [x]\napi_version: v1\ncreation_time: 2021-01-02 03:04:05\n";
        std::fs::write(directory.path().join("model.yaml"), old).unwrap();
        let model = Model::load(directory.path()).unwrap();
        assert_eq!(model.info.context.framework_versions, []);
        assert_eq!(model.info.labels, [("n".into(), "3".into()), ("b".into(), "True".into())]);
        assert_eq!(model.info.creation_time.to_string(), "2021-01-02T03:04:05+00:00");
    }
}
