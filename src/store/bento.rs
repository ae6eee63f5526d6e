//! Bentos and their `bento.yaml`.

use std::path::{Path, PathBuf};

use super::fields::{Fields, label_map, scalar_text};
use super::functions::FunctionsInfo;
use super::layout::Kind;
use super::{CreationTime, Error, Item};
use crate::tag::Tag;
use crate::yaml::Value;

/// The registry of models that live in a model store.
pub const STORE_REGISTRY: &str = "bentoml";

/// When the models of very old bentos were made: they do not say.
const UNKNOWN_TIME: &str = "0001-01-01T00:00:00";

/// A bento in the store.
#[derive(Clone, Debug)]
pub struct Bento {
    /// Its directory.
    pub path: PathBuf,
    /// What `bento.yaml` says.
    pub info: BentoInfo,
    /// `bento.yaml` as it is, unknown keys included.
    pub document: Value,
}

/// What is known about a bento.
#[derive(Clone, Debug, PartialEq)]
pub struct BentoInfo {
    /// Name and version.
    pub tag: Tag,
    /// Where the service is: `module:attribute`.
    pub service: String,
    /// The version of the tool.
    pub bentoml_version: String,
    /// When it was built.
    pub creation_time: CreationTime,
    /// Labels in written order.
    pub labels: Vec<(String, String)>,
    /// The models that the bentofile names.
    pub models: Vec<PinnedModel>,
    /// The name of the service that answers.
    pub entry_service: String,
    /// The entry service and all that it depends on.
    pub services: Vec<ServiceInfo>,
    /// Environment variables.
    pub envs: Vec<Environment>,
    /// The static description of the entry service's API.
    pub schema: Value,
    /// Template arguments.
    pub args: Value,
    /// 2 for bentos with an image description, 1 for older ones.
    pub spec: u32,
    /// How the image is made; `spec` 1 has none.
    pub image: Option<ImageInfo>,
    /// Of a service of functions.
    pub functions: Option<FunctionsInfo>,
}

/// A model that a bento needs, at its exact version.
#[derive(Clone, Debug, PartialEq)]
pub struct PinnedModel {
    /// Name and version.
    pub tag: Tag,
    /// The framework module.
    pub module: Option<String>,
    /// When the model was made.
    pub creation_time: CreationTime,
    /// Another name under which the code asks for it.
    pub alias: Option<String>,
    /// Where it lives: `bentoml` is the model store.
    pub registry: String,
    /// What the registry needs to know.
    pub metadata: Option<Value>,
}

/// A service of a bento.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// Always empty in what is written today.
    pub service: String,
    /// Its class-level models.
    pub models: Vec<PinnedModel>,
    /// What it calls.
    pub dependencies: Vec<Dependency>,
    /// The keywords of its decorator.
    pub config: Value,
}

/// Another service that a service calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependency {
    /// A service of the same bento.
    pub service: Option<String>,
    /// A deployment.
    pub deployment: Option<String>,
    /// The deployment's cluster.
    pub cluster: Option<String>,
    /// A URL.
    pub url: Option<String>,
}

/// An environment variable of a bento.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Its value; empty means that it is given later.
    pub value: String,
    /// `all`, `build` or `runtime`.
    pub stage: String,
}

/// How the image of a bento is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageInfo {
    /// The base image.
    pub base_image: String,
    /// `X.Y`.
    pub python_version: String,
    /// Shell commands before the Python packages.
    pub commands: Vec<String>,
    /// Requirements in pip's form.
    pub python_requirements: String,
    /// Shell commands after the Python packages.
    pub post_commands: Vec<String>,
    /// Paths of `src/` that the installation needs.
    pub build_include: Vec<String>,
}

impl BentoInfo {
    /// Every model, the services' own included, each once; a later mention replaces an earlier one.
    pub fn all_models(&self) -> Vec<&PinnedModel> {
        let mut all: Vec<&PinnedModel> = Vec::new();
        for model in self.models.iter().chain(self.services.iter().flat_map(|service| &service.models)) {
            match all.iter_mut().find(|known| known.tag == model.tag) {
                Some(known) => *known = model,
                None => all.push(model),
            }
        }
        all
    }

    /// The content of `bento.yaml`: every key, in the fixed order.
    pub fn to_document(&self) -> Value {
        let mut entries = vec![
            ("service", self.service.as_str().into()),
            ("name", self.tag.name().into()),
            ("version", self.tag.version().into()),
            ("bentoml_version", self.bentoml_version.as_str().into()),
            ("creation_time", self.creation_time.to_string().into()),
            ("labels", label_map(&self.labels)),
            ("models", Value::list(self.models.iter().map(PinnedModel::to_value))),
            ("entry_service", self.entry_service.as_str().into()),
            ("services", Value::list(self.services.iter().map(ServiceInfo::to_value))),
            ("envs", Value::list(self.envs.iter().map(Environment::to_value))),
            ("schema", self.schema.clone()),
            ("args", self.args.clone()),
            ("spec", Value::Int(self.spec.into())),
        ];
        if let Some(image) = &self.image {
            entries.push(("image", image.to_value()));
        }
        entries.extend(self.functions.iter().flat_map(FunctionsInfo::entries));
        Value::map(entries)
    }
}

impl PinnedModel {
    /// Whether it lives in a model store.
    pub fn is_in_store(&self) -> bool {
        self.registry == STORE_REGISTRY
    }

    fn to_value(&self) -> Value {
        let mut entries = vec![
            ("tag", self.tag.to_string().into()),
            ("module", Value::or_null(self.module.as_deref())),
            ("creation_time", self.creation_time.to_string().into()),
        ];
        if let Some(alias) = &self.alias {
            entries.push(("alias", alias.as_str().into()));
        }
        if !self.is_in_store() {
            entries.push(("registry", self.registry.as_str().into()));
        }
        if let Some(metadata) = &self.metadata {
            entries.push(("metadata", metadata.clone()));
        }
        Value::map(entries)
    }

    fn read(value: &Value, fields: &Fields) -> Result<Self, Error> {
        let bad = |expected| fields.bad("models", expected);
        let optional = |key: &str| value.get(key).and_then(scalar_text);
        let tag = optional("tag").or_else(|| scalar_text(value));
        let tag = tag.and_then(|tag| tag.parse().ok()).ok_or_else(|| bad("a list of exact tags"))?;
        // Very old bentos list nothing but tags.
        let (module, time) = if value.as_text().is_some() {
            (Some("unknown".to_owned()), Some(UNKNOWN_TIME.to_owned()))
        } else {
            (optional("module"), optional("creation_time"))
        };
        let time = CreationTime::parse(time.as_deref().unwrap_or(UNKNOWN_TIME));
        Ok(Self {
            tag,
            module,
            creation_time: time.ok_or_else(|| bad("a list of models with valid times"))?,
            alias: optional("alias"),
            registry: optional("registry").unwrap_or_else(|| STORE_REGISTRY.to_owned()),
            metadata: value.get("metadata").filter(|value| **value != Value::Null).cloned(),
        })
    }
}

impl ServiceInfo {
    fn to_value(&self) -> Value {
        Value::map([
            ("name", self.name.as_str().into()),
            ("service", self.service.as_str().into()),
            ("models", Value::list(self.models.iter().map(PinnedModel::to_value))),
            ("dependencies", Value::list(self.dependencies.iter().map(Dependency::to_value))),
            ("config", self.config.clone()),
        ])
    }

    fn read(value: &Value, fields: &Fields) -> Result<Self, Error> {
        let bad = || fields.bad("services", "a list of services");
        let items = |key: &str| value.get(key).and_then(Value::as_list).unwrap_or_default();
        let models = items("models").iter().map(|model| PinnedModel::read(model, fields));
        let dependencies = items("dependencies").iter().map(Dependency::read);
        Ok(Self {
            name: value.get("name").and_then(scalar_text).ok_or_else(bad)?,
            service: value.get("service").and_then(scalar_text).unwrap_or_default(),
            models: models.collect::<Result<_, _>>()?,
            dependencies: dependencies.collect(),
            config: value.get("config").cloned().unwrap_or_else(|| Value::Map(Vec::new())),
        })
    }
}

impl Dependency {
    fn to_value(&self) -> Value {
        let all = [
            ("service", &self.service),
            ("deployment", &self.deployment),
            ("cluster", &self.cluster),
            ("url", &self.url),
        ];
        Value::map(all.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?.into()))))
    }

    /// A text alone is a service.
    fn read(value: &Value) -> Self {
        let text = |key: &str| value.get(key).and_then(scalar_text);
        Self {
            service: text("service").or_else(|| scalar_text(value)),
            deployment: text("deployment"),
            cluster: text("cluster"),
            url: text("url"),
        }
    }
}

impl Environment {
    fn to_value(&self) -> Value {
        Value::map([
            ("name", self.name.as_str().into()),
            ("value", self.value.as_str().into()),
            ("stage", self.stage.as_str().into()),
        ])
    }

    fn read(value: &Value, fields: &Fields) -> Result<Self, Error> {
        let text = |key: &str| value.get(key).and_then(scalar_text);
        Ok(Self {
            name: text("name").ok_or_else(|| fields.bad("envs", "a list of named variables"))?,
            value: text("value").unwrap_or_default(),
            stage: text("stage").unwrap_or_else(|| "all".to_owned()),
        })
    }
}

impl ImageInfo {
    fn to_value(&self) -> Value {
        let texts = |items: &[String]| Value::list(items.iter().map(|item| item.as_str().into()));
        Value::map([
            ("base_image", self.base_image.as_str().into()),
            ("python_version", self.python_version.as_str().into()),
            ("commands", texts(&self.commands)),
            ("python_requirements", self.python_requirements.as_str().into()),
            ("post_commands", texts(&self.post_commands)),
            ("build_include", texts(&self.build_include)),
        ])
    }

    fn read(value: &Value) -> Self {
        let text = |key: &str| value.get(key).and_then(scalar_text).unwrap_or_default();
        let texts = |key: &str| {
            let items = value.get(key).and_then(Value::as_list).unwrap_or_default();
            items.iter().filter_map(scalar_text).collect()
        };
        Self {
            base_image: text("base_image"),
            python_version: text("python_version"),
            commands: texts("commands"),
            python_requirements: text("python_requirements"),
            post_commands: texts("post_commands"),
            build_include: texts("build_include"),
        }
    }
}

/// Adds the variables that the older form has in `docker`, where `envs` does not say otherwise.
fn older_envs(mut envs: Vec<Environment>, document: &Value) -> Vec<Environment> {
    let docker = document.get("docker").and_then(|docker| docker.get("env")).and_then(Value::as_map);
    for (name, value) in docker.unwrap_or_default() {
        let (Some(name), Some(value)) = (scalar_text(name), scalar_text(value)) else { continue };
        if !envs.iter().any(|known| known.name == name) {
            envs.push(Environment { name, value, stage: "all".to_owned() });
        }
    }
    envs
}

impl Item for Bento {
    const KIND: Kind = Kind::Bento;

    fn of_document(path: &Path, document: Value) -> Result<Self, Error> {
        let fields = Fields::of(Self::KIND, path, document);
        let empty = || Value::Map(Vec::new());
        let models = fields.list("models")?.iter().map(|model| PinnedModel::read(model, &fields));
        let services = fields.list("services")?.iter().map(|service| ServiceInfo::read(service, &fields));
        let envs = fields.list("envs")?.iter().map(|env| Environment::read(env, &fields));
        let spec = match fields.document.get("spec") {
            Some(Value::Int(spec)) => u32::try_from(*spec).map_err(|_| fields.bad("spec", "a number"))?,
            _ => 1,
        };
        let info = BentoInfo {
            tag: fields.tag()?,
            service: fields.text("service")?,
            bentoml_version: fields.text_or("bentoml_version", "")?,
            creation_time: fields.time()?,
            labels: fields.labels()?,
            models: models.collect::<Result<_, _>>()?,
            entry_service: fields.text_or("entry_service", "")?,
            services: services.collect::<Result<_, _>>()?,
            envs: older_envs(envs.collect::<Result<_, _>>()?, &fields.document),
            schema: fields.value_or("schema", empty()),
            args: fields.value_or("args", empty()),
            spec,
            image: fields.document.get("image").filter(|image| image.as_map().is_some()).map(ImageInfo::read),
            functions: FunctionsInfo::read(&fields.document),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_forms_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let old = "service: a:svc\nname: old\nversion: v1\nbentoml_version: 1.0.0a7\ncreation_time: '2022-01-01T00:00:00+00:00'\n\
                   labels: {}\nmodels: ['m:v1']\nservices:\n- name: S\n  dependencies: [T]\nrunners:\n- {name: r, runner_type: X}\n";
        std::fs::write(directory.path().join("bento.yaml"), old).unwrap();
        let bento = Bento::load(directory.path()).unwrap();
        assert_eq!(bento.info.spec, 1);
        assert_eq!(bento.info.models[0].module.as_deref(), Some("unknown"));
        assert_eq!(bento.info.services[0].dependencies[0].service.as_deref(), Some("T"));
        assert_eq!(bento.info.image, None);
    }

    #[test]
    fn a_later_mention_of_a_model_replaces_an_earlier_one() {
        let model = |alias: &str| PinnedModel {
            tag: Tag::new("m", "v1").unwrap(),
            module: None,
            creation_time: CreationTime::parse("2026-01-01").unwrap(),
            alias: Some(alias.to_owned()),
            registry: STORE_REGISTRY.to_owned(),
            metadata: None,
        };
        let service = ServiceInfo {
            name: "S".into(),
            service: String::new(),
            models: vec![model("second")],
            dependencies: vec![],
            config: Value::Map(vec![]),
        };
        let info = BentoInfo {
            tag: Tag::new("b", "v1").unwrap(),
            service: "service:S".into(),
            bentoml_version: "1.4.39".into(),
            creation_time: CreationTime::parse("2026-01-01").unwrap(),
            labels: vec![],
            models: vec![model("first")],
            entry_service: "S".into(),
            services: vec![service],
            envs: vec![],
            schema: Value::Map(vec![]),
            args: Value::Map(vec![]),
            spec: 2,
            image: None,
            functions: None,
        };
        let aliases: Vec<_> = info.all_models().iter().map(|model| model.alias.clone()).collect();
        assert_eq!(aliases, [Some("second".to_owned())]);
    }
}
