//! A bentofile as it is written: every key checked for its name, type and form, none filled in.

use std::path::Path;

use super::decode::{Entry, Table};
use super::error::{Error, Reason};
use super::schema;
use super::select::is_pattern;
use super::{Conda, Model, Stage, Variable};
use crate::tag::{self, TagQuery, lowercase_warning};
use crate::yaml::{Kind, Node, Value};

/// The distributions that the original tool has images for.
const DISTROS: &[&str] = &["amazonlinux", "ubi8", "debian", "alpine"];

/// The Python versions that there are base images for.
const PYTHONS: &[&str] = &["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"];

/// A bentofile as written.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) service: Option<String>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) include: Option<Vec<String>>,
    pub(super) exclude: Vec<String>,
    pub(super) python: RawPython,
    pub(super) docker: RawDocker,
    pub(super) conda: Option<Conda>,
    pub(super) models: Vec<Model>,
    pub(super) envs: Vec<Variable>,
    pub(super) args: Vec<(String, Value)>,
    pub(super) warnings: Vec<String>,
}

/// `python` as written.
#[derive(Debug, Default)]
pub(super) struct RawPython {
    pub(super) requirements_txt: Option<String>,
    pub(super) packages: Option<Vec<String>>,
    pub(super) lock_packages: Option<bool>,
    pub(super) pack_git_packages: Option<bool>,
    pub(super) index_url: Option<String>,
    pub(super) no_index: Option<bool>,
    pub(super) trusted_host: Vec<String>,
    pub(super) find_links: Vec<String>,
    pub(super) extra_index_url: Vec<String>,
    pub(super) pip_args: Option<String>,
    pub(super) wheels: Vec<String>,
    pub(super) is_src_layout: Option<bool>,
}

/// `docker` as written.
#[derive(Debug, Default)]
pub(super) struct RawDocker {
    pub(super) distro: Option<String>,
    pub(super) python_version: Option<String>,
    pub(super) cuda_version: Option<String>,
    pub(super) env: Option<RawEnv>,
    pub(super) system_packages: Vec<String>,
    pub(super) setup_script: Option<String>,
    pub(super) base_image: Option<String>,
    pub(super) dockerfile_template: Option<String>,
}

/// `docker.env`: a file, or the variables themselves.
#[derive(Debug)]
pub(super) enum RawEnv {
    File(String),
    Variables(Vec<(String, String)>),
}

impl Raw {
    /// Reads the tree of a build configuration.
    pub(super) fn read(file: &Path, node: &Node, section: &str) -> Result<Self, Error> {
        let root = Table::new(Entry { file, node, key: section }, Some(schema::ROOT))?;
        let mut warnings = Vec::new();
        Ok(Self {
            service: root.text("service")?.filter(|service| !service.is_empty()),
            name: root.read("name", |entry| name(entry, &mut warnings))?,
            description: root.text("description")?,
            labels: root.read("labels", |entry| labels(entry, &mut warnings))?.unwrap_or_default(),
            include: root.read("include", patterns)?,
            exclude: root.read("exclude", patterns)?.unwrap_or_default(),
            python: root.read("python", RawPython::read)?.unwrap_or_default(),
            docker: root.read("docker", |entry| RawDocker::read(entry, &mut warnings))?.unwrap_or_default(),
            conda: root.read("conda", conda)?.filter(|conda| *conda != Conda::default()),
            models: root
                .read("models", |entry| entry.items(|entry| model(entry, &mut warnings)))?
                .unwrap_or_default(),
            envs: root.read("envs", variables)?.unwrap_or_default(),
            args: root.read("args", arguments)?.unwrap_or_default(),
            warnings,
        })
    }
}

impl RawPython {
    fn read(entry: Entry<'_>) -> Result<Self, Error> {
        let table = Table::new(entry, Some(schema::PYTHON))?;
        Ok(Self {
            requirements_txt: table.text("requirements_txt")?,
            packages: table.texts("packages")?,
            lock_packages: table.boolean("lock_packages")?,
            pack_git_packages: table.boolean("pack_git_packages")?,
            index_url: table.text("index_url")?,
            no_index: table.boolean("no_index")?,
            trusted_host: table.texts_or_one("trusted_host")?.unwrap_or_default(),
            find_links: table.texts_or_one("find_links")?.unwrap_or_default(),
            extra_index_url: table.texts_or_one("extra_index_url")?.unwrap_or_default(),
            pip_args: table.text("pip_args")?,
            wheels: table.texts("wheels")?.unwrap_or_default(),
            is_src_layout: table.boolean("is_src_layout")?,
        })
    }
}

impl RawDocker {
    fn read(entry: Entry<'_>, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let table = Table::new(entry, Some(schema::DOCKER))?;
        let distro = table.read("distro", |entry| entry.one_of(DISTROS))?;
        let family = distro.unwrap_or("debian");
        Ok(Self {
            distro: distro.map(str::to_owned),
            python_version: table.read("python_version", |entry| python_version(entry, family, warnings))?,
            cuda_version: table.text("cuda_version")?,
            env: table.read("env", docker_env)?,
            system_packages: table.texts("system_packages")?.unwrap_or_default(),
            setup_script: table.text("setup_script")?,
            base_image: table.text("base_image")?,
            dockerfile_template: table.text("dockerfile_template")?,
        })
    }
}

fn name(entry: Entry<'_>, warnings: &mut Vec<String>) -> Result<String, Error> {
    let text = entry.text()?;
    warnings.extend(lowercase_warning(&text));
    match TagQuery::newest(&text) {
        Ok(query) => Ok(query.name().to_owned()),
        Err(reason) => Err(entry.bad_value(&text, reason.into())),
    }
}

fn labels(entry: Entry<'_>, warnings: &mut Vec<String>) -> Result<Vec<(String, String)>, Error> {
    let table = Table::new(entry, None)?;
    let mut labels = Vec::new();
    for (key, node) in table.entries() {
        let named = table.name_of(key);
        let scalar = Entry { file: entry.file, node, key: &named }.scalar("text")?;
        // The original stores the Python notation of a boolean.
        let text = match scalar.value {
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            _ => scalar.text.clone(),
        };
        if !matches!(scalar.value, Value::Text(_)) {
            warnings.push(format!("label `{key}` is not text: quote its value `{}`", scalar.text));
        }
        labels.push((key.to_owned(), text));
    }
    Ok(labels)
}

fn patterns(entry: Entry<'_>) -> Result<Vec<String>, Error> {
    entry.items(|entry| {
        let text = entry.text()?;
        if text.starts_with("../") {
            return Err(entry.bad_value(&text, Reason::OutsideContext));
        }
        if !is_pattern(&text) {
            return Err(entry.bad_value(&text, Reason::NotAPattern));
        }
        Ok(text)
    })
}

fn python_version(entry: Entry<'_>, distro: &str, warnings: &mut Vec<String>) -> Result<String, Error> {
    let text = entry.text()?;
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(is_number) {
        return Err(entry.bad_value(&text, Reason::NotAVersion));
    }
    let minor = format!("{}.{}", parts[0], parts[1]);
    if !PYTHONS.contains(&minor.as_str()) {
        let reason = Reason::UnsupportedPython { distro: distro.to_owned(), supported: PYTHONS };
        return Err(entry.bad_value(&text, reason));
    }
    if parts.len() == 3 {
        warnings.push(format!("`{}` is {text}: the patch level is ignored, using {minor}", entry.key));
    }
    Ok(minor)
}

fn docker_env(entry: Entry<'_>) -> Result<RawEnv, Error> {
    match &entry.node.kind {
        Kind::Scalar(_) => entry.text().map(RawEnv::File),
        Kind::List(_) => entry.items(assignment).map(RawEnv::Variables),
        Kind::Map(_) => {
            let table = Table::new(entry, None)?;
            let read = |(key, node)| {
                let text = Entry { file: entry.file, node, key: &table.name_of(key) }.text()?;
                Ok((key.to_owned(), text))
            };
            table.entries().map(read).collect::<Result<_, _>>().map(RawEnv::Variables)
        }
    }
}

fn assignment(entry: Entry<'_>) -> Result<(String, String), Error> {
    let text = entry.text()?;
    match text.split_once('=') {
        Some((name, value)) if is_variable_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(entry.bad_value(&text, Reason::NotAVariable)),
    }
}

/// Whether a text can name an environment variable.
pub(super) fn is_variable_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|ch| ch.is_ascii_alphanumeric() || ch == '_')
}

fn conda(entry: Entry<'_>) -> Result<Conda, Error> {
    let table = Table::new(entry, Some(schema::CONDA))?;
    Ok(Conda {
        environment_yml: table.text("environment_yml")?,
        channels: table.texts("channels")?.unwrap_or_default(),
        dependencies: table
            .read("dependencies", |entry| entry.items(|entry| Ok(entry.node.clone().into_value())))?
            .unwrap_or_default(),
        pip: table.texts("pip")?.unwrap_or_default(),
    })
}

fn model(entry: Entry<'_>, warnings: &mut Vec<String>) -> Result<Model, Error> {
    if let Kind::Scalar(_) = entry.node.kind {
        return Ok(Model { tag: query(entry, warnings)?, filter: None, alias: None });
    }
    let table = Table::new(entry, Some(schema::MODEL))?;
    table.required_text("tag")?;
    let tag = table.read("tag", |entry| query(entry, warnings))?;
    Ok(Model {
        tag: tag.ok_or_else(|| entry.wrong_type("a tag"))?,
        filter: table.text("filter")?,
        alias: table.text("alias")?,
    })
}

fn query(entry: Entry<'_>, warnings: &mut Vec<String>) -> Result<TagQuery, Error> {
    let text = entry.text()?;
    warnings.extend(lowercase_warning(&text));
    text.parse().map_err(|reason: tag::Error| entry.bad_value(&text, reason.into()))
}

fn variables(entry: Entry<'_>) -> Result<Vec<Variable>, Error> {
    match &entry.node.kind {
        Kind::List(_) => entry.items(variable),
        _ => {
            Err(entry
                .wrong_type("a list with a name and a value for each, such as `- {name: KEY, value: text}`"))
        }
    }
}

/// One variable; other keys are tolerated here, as they are by the original.
fn variable(entry: Entry<'_>) -> Result<Variable, Error> {
    let table = Table::new(entry, None)?;
    let name = table.required_text("name")?;
    if !is_variable_name(&name) {
        return Err(entry.bad_value(&name, Reason::NotAVariable));
    }
    let stage = table.read("stage", |entry| entry.one_of(Stage::WORDS))?;
    Ok(Variable {
        name,
        value: table.text("value")?.unwrap_or_default(),
        stage: stage.map_or(Stage::All, Stage::of_word),
    })
}

fn arguments(entry: Entry<'_>) -> Result<Vec<(String, Value)>, Error> {
    let table = Table::new(entry, None)?;
    Ok(table.entries().map(|(key, node)| (key.to_owned(), node.clone().into_value())).collect())
}
