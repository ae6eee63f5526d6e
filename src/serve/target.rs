//! What is served: a built bento, or a service in a working directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::yaml::{self, Node, ReadError};

/// Reads one of the formats in which projects say what they are.
type Parser = fn(&str) -> Result<Node, ReadError>;

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
        Self::Import { import_string: text.to_owned(), working_dir }
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

    /// Returns the arguments by which a worker learns of the target.
    pub fn worker_arguments(&self) -> Vec<OsString> {
        match self {
            Self::Bento(bento) => vec!["--bento".into(), bento.directory.clone().into()],
            Self::Import { import_string, working_dir } => {
                let directory = working_dir.clone().into();
                vec!["--target".into(), import_string.into(), "--working-dir".into(), directory]
            }
        }
    }

    fn in_directory(directory: &Path, working_dir: Option<&Path>) -> Result<Self, TargetError> {
        if let Some(text) = read(&directory.join("bento.yaml"))? {
            return Bento::parse(directory, &text).map(Self::Bento);
        }
        let import_string = match named_service(directory)? {
            Some(service) => service,
            None if directory.join("service.py").is_file() => "service".to_owned(),
            None => return Err(TargetError::NothingHere { directory: directory.to_owned() }),
        };
        Ok(Self::import(&import_string, Some(working_dir.unwrap_or(directory))))
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
        let variables = yaml.envs.into_iter().filter_map(|env| Some((env.name, env.value?))).collect();
        Ok(Self { directory: absolute(directory), name: yaml.name, version: yaml.version, variables })
    }
}

#[derive(Deserialize)]
struct BentoYaml {
    name: String,
    version: String,
    #[serde(default)]
    envs: Vec<EnvYaml>,
}

#[derive(Deserialize)]
struct EnvYaml {
    name: String,
    #[serde(default)]
    value: Option<String>,
}

/// Reads the service that `bentofile.yaml` or `pyproject.toml` names.
fn named_service(directory: &Path) -> Result<Option<String>, TargetError> {
    let files: [(&str, Parser, &[&str]); 2] = [
        ("bentofile.yaml", yaml::read, &["service"]),
        ("pyproject.toml", yaml::read_toml, &["tool", "bentoml", "build", "service"]),
    ];
    for (name, parse, keys) in files {
        let path = directory.join(name);
        let Some(text) = read(&path)? else { continue };
        let document = parse(&text).map_err(|source| TargetError::Syntax { path, source })?.into_value();
        let service = keys.iter().try_fold(&document, |value, key| value.get(key));
        if let Some(service) = service.and_then(yaml::Value::as_text) {
            return Ok(Some(service.to_owned()));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<String>, TargetError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TargetError::Read { path: path.to_owned(), source }),
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
    fn a_bento_has_a_version_and_variables() {
        let yaml = "service: s:S\nname: iris\nversion: '2'\nenvs:\n- name: A\n  value: '1'\n- name: B\n";
        let here = directory(&[("bento.yaml", yaml)]);
        let Some(Target::Bento(bento)) = locate(here.path()).unwrap() else { panic!() };
        assert_eq!((bento.name.as_str(), bento.version.as_str()), ("iris", "2"));
        assert_eq!(bento.variables, [("A".to_owned(), "1".to_owned())]);
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
