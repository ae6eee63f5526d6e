//! Finding a service and what it needs by reading its source, without running any of it.
//!
//! So a machine that builds needs none of the packages that the service needs. The files that the
//! service imports from its project are parsed; names are followed through imports and aliases;
//! constants are folded. What cannot be known this way is said, with its place and the reason.

mod api;
mod error;
mod fold;
mod legacy;
mod loads;
mod names;
mod openapi;
mod runners;
mod schema;
mod service;
mod source;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use self::fold::Folder;
use self::legacy::Legacy;
use self::names::{Entity, Scope};
use self::service::{Candidate, Definition, Findings, candidate};
use self::source::{Module, Project};

pub use api::Api;
pub use error::{Error, Place, Reason, Subject, Unresolved};
pub use loads::LateLoad;
pub use openapi::openapi;
pub use runners::RunnerReference;
pub use service::{Dependency, HubSource, ModelReference, ModelSource, Service, Style};

/// The file in which a service is looked for when nothing is said.
const DEFAULT_FILE: &str = "service.py";

/// What is to be analysed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The directory of the project.
    pub context: &'a Path,
    /// `module:attribute`, `file.py:attribute`, or one of these without the attribute.
    pub target: Option<&'a str>,
    /// Whether the modules are under `src/`.
    pub is_src_layout: bool,
    /// The environment that `os.getenv` in the code sees.
    pub environment: &'a BTreeMap<String, String>,
}

/// What a service and its dependencies are.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// The normalised place of the entry service: `module:attribute`.
    pub target: String,
    /// The entry service, then all that it depends on, depth first.
    pub services: Vec<Service>,
    /// What cannot be known without running the code.
    pub unresolved: Vec<Unresolved>,
    /// Models that are loaded where a build cannot see them.
    pub late_loads: Vec<LateLoad>,
    /// What else may surprise.
    pub warnings: Vec<String>,
}

impl Discovery {
    /// The service that answers.
    ///
    /// # Panics
    ///
    /// Never: a discovery without a service is an error.
    pub fn entry(&self) -> &Service {
        self.services.first().expect("a discovery has its entry service")
    }

    /// The static description of the entry service's API: `schema.json`; a service of functions has none.
    pub fn schema(&self) -> Json {
        let entry = self.entry();
        if entry.style == Style::Functions {
            return json!({});
        }
        let mut routes = Vec::new();
        let mut paths = Map::new();
        for api in &entry.apis {
            let route = join_route(&entry.path_prefix, &api.route);
            routes.push(api.schema(&route));
            paths.insert(route, json!({"mounted": false}));
        }
        let mut schema = Map::new();
        schema.insert("name".to_owned(), entry.name.clone().into());
        schema.insert("type".to_owned(), "service".into());
        schema.insert("routes".to_owned(), routes.into());
        if let Some(doc) = &entry.doc {
            schema.insert("description".to_owned(), doc.clone().into());
        }
        schema.insert("paths".to_owned(), paths.into());
        Json::Object(schema)
    }
}

/// Reads a project.
pub fn discover(request: &Request<'_>) -> Result<Discovery, Error> {
    let (module, attribute) = target(request)?;
    let mut roots = vec![request.context.to_owned()];
    if request.is_src_layout {
        roots.insert(0, request.context.join("src"));
    }
    let project = Project::load(&roots, request.context, &module)?;
    let folder = Folder::new(&project, request.environment);
    let entry_module = project
        .module(&module)
        .ok_or_else(|| Error::NoModule { module: module.clone(), path: PathBuf::from(&module) })?;
    let (attribute, entry) = match attribute {
        Some(attribute) => (attribute.clone(), named(&folder, entry_module, &attribute)?),
        None => only(&folder, entry_module)?,
    };
    let mut findings = Findings::default();
    let mut services: Vec<Service> = Vec::new();
    match entry {
        Entry::Class(definition) => {
            gather(&folder, definition, &mut Vec::new(), &mut services, &mut findings)?;
        }
        Entry::Functions(legacy) => {
            services.push(legacy::read(&folder, legacy, &attribute, &mut findings));
        }
    }
    let late_loads = project.modules().flat_map(|module| {
        let declared = findings.declared.get(&module.name).map_or(&[][..], Vec::as_slice);
        loads::late_loads(&folder, module, declared)
    });
    let late_loads = late_loads.collect();
    let mut warnings = findings.warnings;
    for variable in folder.used_variables() {
        warnings.push(format!("the environment variable `{variable}` decides what is built"));
    }
    Ok(Discovery {
        target: format!("{module}:{attribute}"),
        services,
        unresolved: findings.unresolved,
        late_loads,
        warnings,
    })
}

/// The service that is asked for.
enum Entry<'p> {
    Class(Definition<'p>),
    Functions(Legacy<'p>),
}

/// Reads a service and, depth first, those that it depends on.
fn gather<'p>(
    folder: &Folder<'p>,
    definition: Definition<'p>,
    seen: &mut Vec<Definition<'p>>,
    services: &mut Vec<Service>,
    findings: &mut Findings,
) -> Result<String, Error> {
    if let Some(index) = seen.iter().position(|known| known.class.is(definition.class)) {
        return Ok(services[index].name.clone());
    }
    let (service, depended) = service::read(folder, definition, findings);
    let name = service.name.clone();
    if services.iter().any(|known| known.name == name) {
        return Err(Error::DuplicateService { place: service.place, name });
    }
    let own = services.len();
    seen.push(definition);
    services.push(service);
    for (index, definition) in depended {
        let depended = gather(folder, definition, seen, services, findings)?;
        services[own].dependencies[index].service = Some(depended);
    }
    Ok(name)
}

/// The service that an attribute names; further parts select its dependencies.
fn named<'p>(folder: &Folder<'p>, module: &'p Module, attribute: &str) -> Result<Entry<'p>, Error> {
    let mut parts = attribute.split('.');
    let first = parts.next().unwrap_or_default();
    let not_found = || Error::NoAttribute {
        module: module.name.clone(),
        attribute: attribute.to_owned(),
        known: service_names(folder, module),
    };
    if !source::names(&module.body).contains(&first) {
        return Err(not_found());
    }
    let mut definition = match entry_of(folder, module, first) {
        Some(Entry::Class(definition)) => definition,
        // Nothing depends on anything here but on runners.
        Some(_) if parts.next().is_some() => return Err(not_found()),
        Some(functions) => return Ok(functions),
        None => return Err(Error::NotAService { place: first_place(module), attribute: first.to_owned() }),
    };
    for part in parts {
        let (service, depended) = service::read(folder, definition, &mut Findings::default());
        let index = service.dependencies.iter().position(|dependency| dependency.attribute == part);
        let next = depended.into_iter().find(|(at, _)| Some(*at) == index);
        definition = next.map(|(_, definition)| definition).ok_or_else(not_found)?;
    }
    Ok(Entry::Class(definition))
}

/// The one service of a module that no other depends on; else its one service of functions.
fn only<'p>(folder: &Folder<'p>, module: &'p Module) -> Result<(String, Entry<'p>), Error> {
    let mut candidates: Vec<(&str, Definition<'p>)> = Vec::new();
    let mut functions: Vec<(&str, Entry<'p>)> = Vec::new();
    for name in source::names(&module.body) {
        match entry_of(folder, module, name) {
            Some(Entry::Class(definition)) => candidates.push((name, definition)),
            Some(other) => functions.push((name, other)),
            None => {}
        }
    }
    let read = |definition: Definition<'p>| service::read(folder, definition, &mut Findings::default()).1;
    let depended: Vec<Definition<'p>> = candidates
        .iter()
        .flat_map(|(_, definition)| read(*definition))
        .map(|(_, definition)| definition)
        .collect();
    candidates.retain(|(_, definition)| !depended.iter().any(|other| other.class.is(definition.class)));
    let classes = candidates.into_iter().map(|(name, definition)| (name, Entry::Class(definition)));
    let mut found: Vec<(&str, Entry<'p>)> = classes.collect();
    if found.is_empty() {
        found = functions;
    }
    if found.len() > 1 {
        let candidates = found.iter().map(|(name, _)| format!("{}:{name}", module.name)).collect();
        return Err(Error::SeveralServices { module: module.name.clone(), candidates });
    }
    let (name, entry) = found.pop().ok_or_else(|| Error::NoService { module: module.name.clone() })?;
    Ok((name.to_owned(), entry))
}

fn entry_of<'p>(folder: &Folder<'p>, module: &'p Module, name: &str) -> Option<Entry<'p>> {
    match candidate(folder, &entity_of(folder, module, name)?) {
        Candidate::Service(definition) => Some(Entry::Class(definition)),
        Candidate::Legacy(legacy) => Some(Entry::Functions(legacy)),
        Candidate::Other => None,
    }
}

fn entity_of<'p>(folder: &Folder<'p>, module: &'p Module, name: &str) -> Option<Entity<'p>> {
    let expression = ruff_python_parser::parse_expression(name).ok()?.into_expr();
    folder.project.settle(Scope::of(module), &expression)
}

fn service_names(folder: &Folder<'_>, module: &Module) -> Vec<String> {
    let names = source::names(&module.body).into_iter();
    let services = names.filter(|name| {
        let entity = folder.project.module(&module.name).and_then(|module| entity_of(folder, module, name));
        entity.is_some_and(|entity| !matches!(candidate(folder, &entity), Candidate::Other))
    });
    services.map(str::to_owned).collect()
}

fn first_place(module: &Module) -> Place {
    Place { file: module.file.clone(), line: 1, column: 1 }
}

/// The module and the attribute that a target names.
fn target(request: &Request<'_>) -> Result<(String, Option<String>), Error> {
    let Some(text) = request.target.filter(|text| !text.is_empty()) else {
        let has_default = request.context.join(DEFAULT_FILE).is_file()
            || (request.is_src_layout && request.context.join("src").join(DEFAULT_FILE).is_file());
        let module = DEFAULT_FILE.trim_end_matches(".py").to_owned();
        return if has_default { Ok((module, None)) } else { Err(Error::NoServiceFile) };
    };
    let bad = || Error::BadTarget { text: text.to_owned() };
    let (path, attribute) = match text.split_once(':') {
        Some((_, "")) => return Err(bad()),
        Some((path, attribute)) => (path, Some(attribute.to_owned())),
        None => (text, None),
    };
    let path = path.strip_prefix("./").unwrap_or(path);
    let module = match path.strip_suffix(".py") {
        Some(file) => file.replace('/', "."),
        None => path.replace('/', "."),
    };
    let is_name = |part: &str| {
        !part.is_empty()
            && part.chars().all(|ch| ch.is_alphanumeric() || ch == '_')
            && !part.starts_with(|ch: char| ch.is_ascii_digit())
    };
    let attributes = attribute.iter().flat_map(|attribute| attribute.split('.'));
    if module.split('.').chain(attributes).all(is_name) { Ok((module, attribute)) } else { Err(bad()) }
}

/// Puts a prefix before a route.
fn join_route(prefix: &str, route: &str) -> String {
    let parts = [prefix, route].map(|part| part.trim_matches('/'));
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests;
