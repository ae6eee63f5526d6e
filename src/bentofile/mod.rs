//! Bentofiles: reading the build configuration of a project.
//!
//! The first stage of a build. It comes from `bentofile.yaml`, from `[tool.bentoml.build]` in
//! `pyproject.toml`, or from nothing at all, and goes from `raw` (as written, checked) to complete
//! (everything filled in).

mod complete;
mod decode;
mod document;
mod error;
mod files;
mod places;
mod raw;
mod schema;
mod select;

use std::io;
use std::path::{Path, PathBuf};

use self::complete::{Project, complete};
use self::raw::Raw;
use crate::tag::TagQuery;
use crate::text::{self, TextError};
use crate::yaml::{self, Kind, Node, Position, Value};

pub use error::{Error, Place, Reason};
pub use places::Places;
pub use select::{SelectError, SelectedFile, Selection, Selector};

/// The file that is looked for first.
pub const BENTOFILE: &str = "bentofile.yaml";

/// The file that is looked for next.
pub const PYPROJECT: &str = "pyproject.toml";

/// Where `pyproject.toml` lists what the project needs.
const DEPENDENCIES: &[&str] = &["project", "dependencies"];

/// A build configuration, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Bentofile {
    /// Where the service is; without it, the default place.
    pub service: Option<String>,
    /// The name of the bento; without it, the service's in snake case.
    pub name: Option<String>,
    /// What the README says.
    pub description: Option<Description>,
    /// Labels in written order.
    pub labels: Vec<(String, String)>,
    /// Patterns of files to take.
    pub include: Vec<String>,
    /// Patterns of files to leave out of those.
    pub exclude: Vec<String>,
    /// Python packages.
    pub python: Python,
    /// The image.
    pub docker: Docker,
    /// A conda environment.
    pub conda: Option<Conda>,
    /// Models that the code does not declare at class level.
    pub models: Vec<Model>,
    /// Environment variables, those of `docker.env` included.
    pub envs: Vec<Variable>,
    /// Template arguments.
    pub args: Vec<(String, Value)>,
    /// Where everything is written.
    pub places: Places,
}

/// What the README of a bento is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Description {
    /// This text.
    Text(String),
    /// A file of the project.
    File(PathBuf),
}

/// `python`: packages and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one key of the file format")]
pub struct Python {
    /// A requirements file.
    pub requirements_txt: Option<String>,
    /// Requirements, those of `[project].dependencies` last.
    pub packages: Vec<String>,
    /// Whether exact versions are found at build.
    pub lock_packages: bool,
    /// Whether git requirements are built at build.
    pub pack_git_packages: bool,
    /// The package index.
    pub index_url: Option<String>,
    /// Whether no index is used.
    pub no_index: bool,
    /// Hosts whose certificates are not checked.
    pub trusted_host: Vec<String>,
    /// Pages and directories with packages.
    pub find_links: Vec<String>,
    /// More package indexes.
    pub extra_index_url: Vec<String>,
    /// Arguments for pip.
    pub pip_args: Option<String>,
    /// Wheel files.
    pub wheels: Vec<String>,
    /// Whether the files under `src/` go to the root.
    pub is_src_layout: bool,
}

/// `docker`: the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Docker {
    /// The distribution.
    pub distro: Option<String>,
    /// `X.Y`.
    pub python_version: Option<String>,
    /// The version of CUDA.
    pub cuda_version: Option<String>,
    /// Packages of the distribution.
    pub system_packages: Vec<String>,
    /// A script to run in the image.
    pub setup_script: Option<String>,
    /// The base image.
    pub base_image: Option<String>,
    /// A template to extend the generated Dockerfile.
    pub dockerfile_template: Option<String>,
}

/// `conda`: an environment that is carried, not used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conda {
    /// An environment file.
    pub environment_yml: Option<String>,
    /// Channels.
    pub channels: Vec<String>,
    /// Packages.
    pub dependencies: Vec<Value>,
    /// Packages of pip.
    pub pip: Vec<String>,
}

/// One entry of `models`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Which model.
    pub tag: TagQuery,
    /// A query for pulling.
    pub filter: Option<String>,
    /// Another name for it in the code.
    pub alias: Option<String>,
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; empty means that it is given later.
    pub value: String,
    /// When it is there.
    pub stage: Stage,
}

/// When an environment variable is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Always.
    All,
    /// While the image is made.
    Build,
    /// When the container runs.
    Runtime,
}

impl Stage {
    const WORDS: &'static [&'static str] = &["all", "build", "runtime"];

    /// The word in a bentofile.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Build => "build",
            Self::Runtime => "runtime",
        }
    }

    fn of_word(word: &str) -> Self {
        match word {
            "build" => Self::Build,
            "runtime" => Self::Runtime,
            _ => Self::All,
        }
    }
}

/// A build configuration and what the user should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub bentofile: Bentofile,
    /// What may surprise.
    pub warnings: Vec<String>,
    /// The file it comes from; none where all is default.
    pub path: Option<PathBuf>,
}

/// Finds and reads the build configuration of a project.
///
/// `file` is what the user named; without it, `bentofile.yaml`, then `pyproject.toml`, then the
/// defaults.
pub fn load(context: &Path, file: Option<&Path>) -> Result<Loaded, Error> {
    if !context.is_dir() {
        return Err(Error::NoContext { path: context.to_owned() });
    }
    let Some((path, source)) = find(context, file)? else {
        let raw = Raw::default();
        return complete(context, Places::new(Path::new(BENTOFILE)), raw, Project::default());
    };
    let loaded = if path.file_name().is_some_and(|name| name == PYPROJECT) {
        let (raw, project, places) = read_pyproject(context, &path, &source)?;
        complete(context, places, raw, project)
    } else {
        let (raw, places) = read_yaml(&path, &source)?;
        complete(context, places, raw, Project::default())
    };
    loaded.map(|loaded| Loaded { path: Some(path), ..loaded })
}

/// The file to read and its text. The path is what errors call it: short for the usual places.
fn find(context: &Path, file: Option<&Path>) -> Result<Option<(PathBuf, String)>, Error> {
    let read = |path: &Path, called: &Path| match text::read(path) {
        Ok(source) => Ok(Some(source)),
        Err(TextError::File(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(TextError::File(source)) => Err(Error::Read { path: path.to_owned(), source }),
        Err(TextError::NotUtf8(source)) => {
            let at = Position { line: source.line, column: source.column };
            Err(Error::Encoding { place: Place { file: called.to_owned(), at: Some(at) }, source })
        }
    };
    if let Some(path) = file {
        let source = read(path, path)?.ok_or_else(|| Error::NotFound { path: path.to_owned() })?;
        return Ok(Some((path.to_owned(), source)));
    }
    for name in [BENTOFILE, PYPROJECT] {
        if let Some(source) = read(&context.join(name), Path::new(name))? {
            return Ok(Some((name.into(), source)));
        }
    }
    Ok(None)
}

fn read_yaml(path: &Path, source: &str) -> Result<(Raw, Places), Error> {
    let mut places = Places::new(path);
    let node = yaml::read(source).map_err(|error| unreadable(path, source, error))?;
    if matches!(&node.kind, Kind::Scalar(scalar) if scalar.value == Value::Null) {
        return Ok((Raw::default(), places));
    }
    places.add("", &node);
    Ok((Raw::read(path, &node, "")?, places))
}

fn read_pyproject(context: &Path, path: &Path, source: &str) -> Result<(Raw, Project, Places), Error> {
    let mut places = Places::new(path);
    let node = yaml::read_toml(source).map_err(|error| unreadable(path, source, error))?;
    let raw = match lookup(&node, &["tool", "bentoml", "build"]) {
        Some(build) => {
            places.add("", build);
            Raw::read(path, build, "")?
        }
        None => Raw::default(),
    };
    if let Some(dependencies) = lookup(&node, DEPENDENCIES) {
        places.add("project.dependencies", dependencies);
    }
    let text = |node: &Node| match &node.kind {
        Kind::Scalar(scalar) => Some(scalar.text.clone()),
        _ => None,
    };
    let dependencies = match lookup(&node, DEPENDENCIES).map(|node| &node.kind) {
        Some(Kind::List(items)) => items.iter().filter_map(text).collect(),
        _ => Vec::new(),
    };
    let directory = path.parent().filter(|parent| parent.is_absolute()).unwrap_or(context);
    let project = Project {
        name: lookup(&node, &["project", "name"]).and_then(text),
        dependencies,
        has_src_directory: directory.join("src").is_dir(),
    };
    Ok((raw, project, places))
}

fn lookup<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    let [first, rest @ ..] = path else { return Some(node) };
    let Kind::Map(entries) = &node.kind else { return None };
    let named = |key: &Node| matches!(&key.kind, Kind::Scalar(name) if name.text == *first);
    entries.iter().find(|(key, _)| named(key)).and_then(|(_, value)| lookup(value, rest))
}

fn unreadable(path: &Path, source: &str, error: yaml::ReadError) -> Error {
    let place = Place { file: path.to_owned(), at: error.at };
    match error.at.filter(|_| error.is_duplicate_key).and_then(|at| key_at(source, at)) {
        Some(key) => Error::DuplicateKey { place, key },
        None => Error::Parse { place, message: error.message },
    }
}

/// The key that stands at a place.
fn key_at(source: &str, at: Position) -> Option<String> {
    let line = source.lines().nth(at.line.checked_sub(1)?)?;
    let rest: String = line.chars().skip(at.column.checked_sub(1)?).collect();
    let end = rest.find([':', '=', ']']).unwrap_or(rest.len());
    let key = rest[..end].trim().trim_matches(['"', '\'', '[']);
    (!key.is_empty()).then(|| key.to_owned())
}
