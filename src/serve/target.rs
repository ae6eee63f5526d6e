//! What is served: a built bento, or a service in a working directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use super::readahead::DeclaredModel;
use crate::text::{self, TextError};
use crate::yaml::{self, Node, ReadError};

/// Reads one of the formats in which projects say what they are.
type Parser = fn(&str) -> Result<Node, ReadError>;

/// Where `pyproject.toml` has the build configuration.
const PYPROJECT_SECTION: &[&str] = &["tool", "bentoml", "build"];

/// A target that cannot be served.
#[derive(Debug, Error)]
pub enum TargetError {
    /// A directory without anything to serve.
    #[error(
        "the directory `{}` does not contain a valid bentofile.yaml or service.py",
        directory.display()
    )]
    NothingHere {
        /// The directory.
        directory: PathBuf,
    },
    /// A file that should say what to serve cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not YAML or TOML.
    #[error("cannot understand `{}`", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// `bento.yaml` lacks what every bento has.
    #[error("`{}` is not the description of a bento", path.display())]
    NoBento {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        source: serde_json::Error,
    },
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory with `bento.yaml`.
    Bento(Bento),
    /// A service to be imported.
    Import {
        /// `module`, `module:attribute` or `file.py:attribute`.
        import_string: String,
        /// The directory it is imported in.
        working_dir: PathBuf,
        /// Other names of models, and the tags that they stand for.
        aliases: Vec<(String, String)>,
    },
}

/// A built bento.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bento {
    /// Its directory.
    pub directory: PathBuf,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Environment variables it asks for, unless they are set.
    pub variables: Vec<(String, String)>,
    /// The models that it was built with: those of its entry service first, in the order of their declaration.
    pub models: Vec<DeclaredModel>,
}

impl Target {
    /// Finds what `text` names below `working_dir` (default: the current directory).
    ///
    /// `None` means that neither a directory nor a module has this name: it may be the tag of a bento, or a module
    /// that only Python finds.
    pub fn locate(text: &str, working_dir: Option<&Path>) -> Result<Option<Self>, TargetError> {
        let base = working_dir.unwrap_or(Path::new("."));
        let mut directory = PathBuf::from(text);
        if !directory.is_dir() && base.join(text).is_dir() && !text.contains(':') {
            directory = base.join(text);
        }
        if directory.is_dir() {
            return Self::in_directory(&directory, working_dir).map(Some);
        }
        let module = text.split(':').next().unwrap_or_default();
        let path = match module.strip_suffix(".py") {
            Some(stem) => base.join(stem),
            None => base.join(module.replace('.', "/")),
        };
        let is_module = path.with_extension("py").is_file() || path.join("__init__.py").is_file();
        Ok(is_module.then(|| Self::import(text, working_dir)))
    }

    /// Makes a target of an import string that is not looked for.
    pub fn import(text: &str, working_dir: Option<&Path>) -> Self {
        let working_dir = absolute(working_dir.unwrap_or(Path::new(".")));
        Self::Import { import_string: text.to_owned(), working_dir, aliases: Vec::new() }
    }

    /// Returns what the banner and messages call it.
    pub fn label(&self) -> String {
        match self {
            Self::Bento(bento) => format!("{}:{}", bento.name, bento.version),
            Self::Import { import_string, .. } => import_string.clone(),
        }
    }

    /// Returns the version that metrics carry.
    pub fn version(&self) -> &str {
        match self {
            Self::Bento(bento) => &bento.version,
            Self::Import { .. } => "not available",
        }
    }

    /// Returns the directory with the service's code.
    pub fn sources(&self) -> PathBuf {
        match self {
            Self::Bento(bento) => bento.directory.join("src"),
            Self::Import { working_dir, .. } => working_dir.clone(),
        }
    }

    /// Returns the models that are known without looking at any source.
    pub fn models(&self) -> Vec<DeclaredModel> {
        match self {
            Self::Bento(bento) => bento.models.clone(),
            Self::Import { aliases, .. } => {
                aliases.iter().map(|(_, tag)| DeclaredModel::stored(tag)).collect()
            }
        }
    }

    /// Returns the arguments by which a worker learns of the target.
    pub fn worker_arguments(&self) -> Vec<OsString> {
        match self {
            Self::Bento(bento) => vec!["--bento".into(), bento.directory.clone().into()],
            Self::Import { import_string, working_dir, aliases } => {
                let directory = working_dir.clone().into();
                let mut arguments: Vec<OsString> =
                    vec!["--target".into(), import_string.into(), "--working-dir".into(), directory];
                // In one word: a name may begin with a dash.
                arguments.extend(aliases.iter().map(|(name, tag)| format!("--alias={name}={tag}").into()));
                arguments
            }
        }
    }

    fn in_directory(directory: &Path, working_dir: Option<&Path>) -> Result<Self, TargetError> {
        if let Some(text) = read(&directory.join("bento.yaml"))? {
            return Bento::parse(directory, &text).map(Self::Bento);
        }
        let project = Project::read(directory)?;
        let import_string = match project.service {
            Some(service) => service,
            None if directory.join("service.py").is_file() => "service".to_owned(),
            None => return Err(TargetError::NothingHere { directory: directory.to_owned() }),
        };
        let working_dir = absolute(working_dir.unwrap_or(directory));
        Ok(Self::Import { import_string, working_dir, aliases: project.aliases })
    }
}

impl Bento {
    fn parse(directory: &Path, text: &str) -> Result<Self, TargetError> {
        let path = directory.join("bento.yaml");
        let document = match yaml::read(text) {
            Ok(node) => node.into_value().to_json(),
            Err(source) => return Err(TargetError::Syntax { path, source }),
        };
        let yaml: BentoYaml =
            serde_json::from_value(document).map_err(|source| TargetError::NoBento { path, source })?;
        let models = yaml.models();
        let variables = yaml.envs.into_iter().filter_map(|env| Some((env.name, env.value?))).collect();
        Ok(Self { directory: absolute(directory), name: yaml.name, version: yaml.version, variables, models })
    }
}

#[derive(Deserialize)]
struct BentoYaml {
    name: String,
    version: String,
    #[serde(default)]
    envs: Vec<EnvYaml>,
    #[serde(default)]
    entry_service: Json,
    #[serde(default)]
    services: Json,
    #[serde(default)]
    models: Json,
}

impl BentoYaml {
    /// Lists the models without repetition. Entries that cannot be understood are for the worker to complain of.
    fn models(&self) -> Vec<DeclaredModel> {
        let services = self.services.as_array().map_or(&[][..], Vec::as_slice);
        let is_entry = |service: &&Json| service.get("name") == Some(&self.entry_service);
        let (entry, others): (Vec<&Json>, Vec<&Json>) = services.iter().partition(is_entry);
        let own = entry.into_iter().chain(others).filter_map(|service| service.get("models"));
        let entries = own.chain([&self.models]).filter_map(Json::as_array).flatten();
        let mut models = Vec::new();
        for entry in entries {
            match DeclaredModel::from_entry(entry) {
                Some(model) if !models.contains(&model) => models.push(model),
                _ => {}
            }
        }
        models
    }
}

#[derive(Deserialize)]
struct EnvYaml {
    name: String,
    #[serde(default)]
    value: Option<String>,
}

/// What the build configuration of a project says that matters to serving.
#[derive(Default)]
struct Project {
    /// The service.
    service: Option<String>,
    /// Other names of models, and the tags that they stand for.
    aliases: Vec<(String, String)>,
}

impl Project {
    /// Reads `bentofile.yaml` or `pyproject.toml`, whichever has a build configuration first.
    fn read(directory: &Path) -> Result<Self, TargetError> {
        let files: [(&str, Parser, &[&str]); 2] =
            [("bentofile.yaml", yaml::read, &[]), ("pyproject.toml", yaml::read_toml, PYPROJECT_SECTION)];
        let mut project = Self::default();
        for (name, parse, section) in files {
            let path = directory.join(name);
            let Some(text) = read(&path)? else { continue };
            let document = parse(&text).map_err(|source| TargetError::Syntax { path, source })?.into_value();
            let Some(build) = section.iter().try_fold(&document, |value, key| value.get(key)) else {
                continue;
            };
            let service = build.get("service").and_then(yaml::Value::as_text);
            project.service = project.service.or_else(|| service.map(str::to_owned));
            if project.aliases.is_empty() {
                project.aliases = aliases(build);
            }
        }
        Ok(project)
    }
}

/// The entries of `models` that have another name in the code.
fn aliases(build: &yaml::Value) -> Vec<(String, String)> {
    let models = build.get("models").and_then(yaml::Value::as_list).unwrap_or_default();
    let text = |model: &yaml::Value, key| model.get(key).and_then(yaml::Value::as_text).map(str::to_owned);
    models.iter().filter_map(|model| Some((text(model, "alias")?, text(model, "tag")?))).collect()
}

fn read(path: &Path) -> Result<Option<String>, TargetError> {
    match text::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(TextError::File(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TargetError::Read { path: path.to_owned(), source: error.into_io() }),
    }
}

/// Workers get absolute paths, since they change their directory. Without a current directory the path stays.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn locate(directory: &Path) -> Result<Option<Target>, TargetError> {
        Target::locate(directory.to_str().unwrap(), None)
    }

    fn import_string(target: Option<Target>) -> String {
        match target {
            Some(Target::Import { import_string, .. }) => import_string,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn directories_say_what_they_serve() {
        let here = directory(&[("bentofile.yaml", "service: 'app:Main'\n"), ("service.py", "")]);
        assert_eq!(import_string(locate(here.path()).unwrap()), "app:Main");
        let here = directory(&[("pyproject.toml", "[tool.bentoml.build]\nservice = 'app:Other'\n")]);
        assert_eq!(import_string(locate(here.path()).unwrap()), "app:Other");
        let here = directory(&[("service.py", ""), ("bentofile.yaml", "labels: {}\n")]);
        assert_eq!(import_string(locate(here.path()).unwrap()), "service");
        let here = directory(&[]);
        let message = locate(here.path()).unwrap_err().to_string();
        assert!(message.ends_with("does not contain a valid bentofile.yaml or service.py"), "{message}");
        let here = directory(&[("bentofile.yaml", "service: [")]);
        assert!(matches!(locate(here.path()), Err(TargetError::Syntax { .. })));
    }

    #[test]
    fn other_names_of_models_reach_the_worker() {
        let yaml = "service: 'app:Main'\nmodels:\n- plain:v1\n- {tag: 'iris:latest', alias: flower}\n";
        let toml = "[[tool.bentoml.build.models]]\ntag = 'iris:latest'\nalias = 'flower'\n";
        for files in [&[("bentofile.yaml", yaml)][..], &[("pyproject.toml", toml), ("service.py", "")]] {
            let here = directory(files);
            let arguments = locate(here.path()).unwrap().unwrap().worker_arguments();
            assert_eq!(arguments.last().unwrap(), "--alias=flower=iris:latest");
            assert_eq!(arguments.len(), 5);
        }
    }

    #[test]
    fn a_bento_has_a_version_and_variables() {
        let yaml = "service: s:S\nname: iris\nversion: '2'\nenvs:\n- name: A\n  value: '1'\n- name: B\n";
        let here = directory(&[("bento.yaml", yaml)]);
        let Some(Target::Bento(bento)) = locate(here.path()).unwrap() else { panic!() };
        assert_eq!((bento.name.as_str(), bento.version.as_str()), ("iris", "2"));
        assert_eq!(bento.variables, [("A".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn a_bento_tells_its_models_in_the_order_in_which_they_are_loaded() {
        let yaml = "service: s:S\nname: iris\nversion: v1\nentry_service: Main\nmodels:\n- extra:v1\n- {tag: 'b:v1'}\n\
            services:\n- name: Helper\n  models: [{tag: 'c:v1'}]\n- name: Main\n  models:\n  - {tag: 'b:v1'}\n  - {tag: 'a:v1'}\n  \
            - {tag: 5}\n  - 7\n- name: Plain\n";
        let here = directory(&[("bento.yaml", yaml)]);
        let Some(Target::Bento(bento)) = locate(here.path()).unwrap() else { panic!() };
        let models: Vec<String> = bento.models.iter().map(DeclaredModel::to_string).collect();
        assert_eq!(models, ["b:v1", "a:v1", "c:v1", "extra:v1"]);
        let odd = "service: s:S\nname: iris\nversion: v1\nservices: 5\nmodels: {a: b}\n";
        let here = directory(&[("bento.yaml", odd)]);
        let Some(Target::Bento(bento)) = locate(here.path()).unwrap() else { panic!() };
        assert_eq!(bento.models, []);
    }

    #[test]
    fn names_of_modules_and_of_nothing_are_told_apart() {
        let here = directory(&[("app.py", "")]);
        let find = |text: &str| Target::locate(text, Some(here.path())).unwrap();
        assert_eq!(import_string(find("app:Main")), "app:Main");
        assert_eq!(import_string(find("app.py:Main")), "app.py:Main");
        assert_eq!(find("iris:latest"), None);
    }
}
