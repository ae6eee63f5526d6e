//! A service class: its decorator, models, dependencies and methods.

use std::collections::BTreeMap;

use ruff_python_ast::{Arguments, Expr, ExprCall};
use ruff_text_size::{Ranged, TextRange};
use serde_json::{Map, Value as Json, json};

use super::api::{Api, api, doc};
use super::error::{Place, Reason, Subject, Unresolved};
use super::fold::{Constant, Folder};
use super::legacy::Legacy;
use super::names::{Class, Entity, Scope};
use super::runners::RunnerReference;
use super::source::{Binding, Found, find, names};
use crate::bentofile::{Stage, Variable};

/// Keywords of the decorator that are not configuration.
const OWN_KEYWORDS: [&str; 8] =
    ["name", "image", "description", "path_prefix", "envs", "labels", "cmd", "service_class"];

/// How a service is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A class with `@bentoml.service`.
    Class,
    /// Functions with `@svc.api` of a `bentoml.Service` with runners.
    Functions,
}

/// A service of the project.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name: the class's, unless the decorator says otherwise.
    pub name: String,
    /// How it is written.
    pub style: Style,
    /// The class, or the variable of a service of functions.
    pub class: String,
    /// The module of the class.
    pub module: String,
    /// Where the class is.
    pub place: Place,
    /// The class's docstring.
    pub doc: Option<String>,
    /// What the decorator says for the README.
    pub description: Option<String>,
    /// What stands before every route.
    pub path_prefix: String,
    /// Labels for the bento.
    pub labels: Vec<(String, String)>,
    /// Environment variables for the bento.
    pub envs: Vec<Variable>,
    /// The other keywords of the decorator.
    pub config: Json,
    /// Class-level models, by attribute.
    pub models: Vec<ModelReference>,
    /// The runners of a service of functions.
    pub runners: Vec<RunnerReference>,
    /// What it calls, by attribute.
    pub dependencies: Vec<Dependency>,
    /// Its methods, by name.
    pub apis: Vec<Api>,
    /// Where the decorator is given an image, which cannot be known without running the code.
    pub image: Option<Place>,
}

/// A model declared at class level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelReference {
    /// The attribute.
    pub attribute: String,
    /// Where.
    pub place: Place,
    /// Which model.
    pub model: ModelSource,
}

/// Which model an attribute declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// `BentoModel(tag)`: a model of the store.
    Store {
        /// The tag as written.
        tag: String,
    },
    /// `HuggingFaceModel(…)`: a repository of the hub.
    Hub(HubSource),
}

/// A repository of the hub as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSource {
    /// The repository.
    pub id: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// The hub.
    pub endpoint: Option<String>,
    /// Patterns of files to take.
    pub include: Option<Vec<String>>,
    /// Patterns of files to leave out.
    pub exclude: Option<Vec<String>>,
}

/// Something that a service calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The attribute.
    pub attribute: String,
    /// A service of this project.
    pub service: Option<String>,
    /// A deployment.
    pub deployment: Option<String>,
    /// Its cluster.
    pub cluster: Option<String>,
    /// A URL.
    pub url: Option<String>,
}

/// What is learned besides the services.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) unresolved: Vec<Unresolved>,
    pub(super) warnings: Vec<String>,
    /// The calls that were understood as declarations, by module.
    pub(super) declared: BTreeMap<String, Vec<TextRange>>,
}

/// A decorated class.
#[derive(Clone, Copy)]
pub(super) struct Definition<'p> {
    pub(super) class: Class<'p>,
    /// The decorator's arguments and where they stand.
    decorator: Option<(Scope<'p>, &'p Arguments)>,
}

/// What a name turns out to be.
pub(super) enum Candidate<'p> {
    Service(Definition<'p>),
    Legacy(Legacy<'p>),
    Other,
}

/// Finds out whether something is a service: a decorated class, or the result of a call on one.
pub(super) fn candidate<'p>(folder: &Folder<'p>, entity: &Entity<'p>) -> Candidate<'p> {
    match entity {
        Entity::Class(class) => decorated(folder, *class).map_or(Candidate::Other, Candidate::Service),
        Entity::Value(scope, Expr::Call(call)) => called(folder, *scope, call),
        _ => Candidate::Other,
    }
}

fn decorated<'p>(folder: &Folder<'p>, class: Class<'p>) -> Option<Definition<'p>> {
    let scope = Scope::of(class.module);
    class.definition.decorator_list.iter().find_map(|decorator| {
        let (function, arguments) = match &decorator.expression {
            Expr::Call(call) => (&*call.func, Some((scope, &call.arguments))),
            other => (other, None),
        };
        is_service_decorator(folder, scope, function).then_some(Definition { class, decorator: arguments })
    })
}

/// `bentoml.service(Class, …)` and `bentoml.service(…)(Class)`.
fn called<'p>(folder: &Folder<'p>, scope: Scope<'p>, call: &'p ExprCall) -> Candidate<'p> {
    let class_of = |arguments: &Arguments| match folder.project.settle(scope, arguments.args.first()?) {
        Some(Entity::Class(class)) => Some(class),
        _ => None,
    };
    let (function, arguments) = match &*call.func {
        Expr::Call(inner) => (&*inner.func, &inner.arguments),
        other => (other, &call.arguments),
    };
    let name = folder.project.external_name(scope, function);
    if matches!(name.as_deref(), Some("bentoml.Service" | "bentoml.legacy.Service")) {
        return Candidate::Legacy(Legacy { scope, call });
    }
    match class_of(&call.arguments) {
        Some(class) if is_service_decorator(folder, scope, function) => {
            Candidate::Service(Definition { class, decorator: Some((scope, arguments)) })
        }
        _ => Candidate::Other,
    }
}

fn is_service_decorator<'p>(folder: &Folder<'p>, scope: Scope<'p>, function: &Expr) -> bool {
    let name = folder.project.external_name(scope, function);
    matches!(name.as_deref(), Some("bentoml.service" | "_bentoml_sdk.service"))
}

/// Reads one service, and gives the services that it depends on.
pub(super) fn read<'p>(
    folder: &Folder<'p>,
    definition: Definition<'p>,
    findings: &mut Findings,
) -> (Service, Vec<(usize, Definition<'p>)>) {
    let class = definition.class;
    let mut service = Service {
        name: class.name().to_owned(),
        style: Style::Class,
        class: class.name().to_owned(),
        module: class.module.name.clone(),
        place: class.module.place(&class.definition.name),
        doc: doc(&class.definition.body),
        description: None,
        path_prefix: String::new(),
        labels: Vec::new(),
        envs: Vec::new(),
        config: json!({}),
        models: Vec::new(),
        runners: Vec::new(),
        dependencies: Vec::new(),
        apis: Vec::new(),
        image: None,
    };
    if let Some((scope, arguments)) = definition.decorator {
        read_decorator(folder, scope, arguments, &mut service, findings);
    }
    let mut depended = Vec::new();
    for attribute in attributes(folder, class) {
        let shown = format!("{}.{attribute}", class.name());
        let declared =
            Declared { folder, attribute, shown, service: &mut service, depended: &mut depended, findings };
        declared.read_attribute(class);
    }
    complete_config(&mut service);
    (service, depended)
}

/// The attributes of a class and its bases, sorted as `dir()` does.
fn attributes<'p>(folder: &Folder<'p>, class: Class<'p>) -> Vec<&'p str> {
    let classes = folder.project.ancestry(class);
    let mut all: Vec<&str> = classes.iter().flat_map(|class| names(&class.definition.body)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A class attribute that may declare something.
struct Declared<'d, 'p> {
    folder: &'d Folder<'p>,
    attribute: &'p str,
    shown: String,
    service: &'d mut Service,
    depended: &'d mut Vec<(usize, Definition<'p>)>,
    findings: &'d mut Findings,
}

impl<'p> Declared<'_, 'p> {
    /// Reads the attribute from the class that defines it.
    fn read_attribute(self, class: Class<'p>) {
        let owner = self
            .folder
            .project
            .ancestry(class)
            .into_iter()
            .find(|ancestor| names(&ancestor.definition.body).contains(&self.attribute));
        let Some(owner) = owner else { return };
        match find(&owner.definition.body, self.attribute) {
            Found::One(Binding::Function(method)) => {
                let api = api(self.folder, owner, method, &mut self.findings.unresolved);
                self.service.apis.extend(api);
            }
            Found::One(Binding::Value(value)) => self.read(owner.scope(), value),
            Found::Several(bindings) => {
                let is_model = |binding: &Binding<'_>| match binding {
                    Binding::Value(value) => mentions_model(self.folder, owner.scope(), value),
                    _ => false,
                };
                if !bindings.iter().any(is_model) {
                    return;
                }
                // Which of several definitions counts is only known when the code runs.
                self.findings.unresolved.push(Unresolved {
                    place: owner.module.place(&owner.definition.name),
                    subject: Subject::Model { attribute: self.shown },
                    reason: Reason::Ambiguous(self.attribute.to_owned()),
                });
            }
            _ => {}
        }
    }

    fn read(mut self, scope: Scope<'p>, value: &'p Expr) {
        match value {
            Expr::Name(_) | Expr::Attribute(_) => {
                if let Some(Entity::Value(scope, value @ (Expr::Call(_) | Expr::If(_)))) =
                    self.folder.project.settle(scope, value)
                {
                    self.read(scope, value);
                }
            }
            Expr::If(choice) => match self.folder.fold(scope, &choice.test) {
                Ok(test) if test.is_true() => self.read(scope, &choice.body),
                Ok(_) => self.read(scope, &choice.orelse),
                Err(reason) if mentions_model(self.folder, scope, value) => {
                    let subject = Subject::Model { attribute: self.shown.clone() };
                    self.unresolved(scope, &choice.test, subject, reason);
                }
                Err(_) => {}
            },
            Expr::Call(call) => self.read_call(scope, call),
            _ => {}
        }
    }

    fn read_call(&mut self, scope: Scope<'p>, call: &'p ExprCall) {
        let Some(name) = self.folder.project.external_name(scope, &call.func) else { return };
        match name.as_str() {
            "bentoml.models.BentoModel" | "_bentoml_sdk.models.BentoModel" => {
                self.declare(scope, call);
                self.store_model(scope, call);
            }
            "bentoml.models.get" => {
                self.declare(scope, call);
                if let Some(tag) = self.store_model(scope, call) {
                    let place = scope.module.place(call);
                    let attribute = self.attribute;
                    self.findings.warnings.push(format!(
                        "{place}: `bentoml.models.get` at class level needs the model whenever the file is imported, \
                         use `{attribute} = bentoml.models.BentoModel(\"{tag}\")`"
                    ));
                }
            }
            "bentoml.models.HuggingFaceModel" | "_bentoml_sdk.models.HuggingFaceModel" => {
                self.declare(scope, call);
                self.hub_model(scope, call);
            }
            "bentoml.depends" | "_bentoml_sdk.depends" => self.dependency(scope, call),
            _ => {}
        }
    }

    fn declare(&mut self, scope: Scope<'p>, call: &ExprCall) {
        self.findings.declared.entry(scope.module.name.clone()).or_default().push(call.range());
    }

    fn store_model(&mut self, scope: Scope<'p>, call: &'p ExprCall) -> Option<String> {
        let tag = call.arguments.find_argument_value("tag", 0)?;
        let tag = self.model_text(scope, tag)?;
        self.service.models.push(ModelReference {
            attribute: self.attribute.to_owned(),
            place: scope.module.place(call),
            model: ModelSource::Store { tag: tag.clone() },
        });
        Some(tag)
    }

    fn hub_model(&mut self, scope: Scope<'p>, call: &'p ExprCall) {
        let argument = |key, index| call.arguments.find_argument_value(key, index);
        let Some(id) = argument("model_id", 0).and_then(|id| self.model_text(scope, id)) else { return };
        let known = self.findings.unresolved.len();
        let revision = argument("revision", 1).and_then(|revision| self.model_text(scope, revision));
        let endpoint = argument("endpoint", 2).and_then(|endpoint| self.model_text(scope, endpoint));
        let include = argument("include", 3).and_then(|include| self.model_patterns(scope, include));
        let exclude = argument("exclude", 4).and_then(|exclude| self.model_patterns(scope, exclude));
        if self.findings.unresolved.len() > known {
            return;
        }
        let revision = revision.unwrap_or_else(|| "main".to_owned());
        self.service.models.push(ModelReference {
            attribute: self.attribute.to_owned(),
            place: scope.module.place(call),
            model: ModelSource::Hub(HubSource { id, revision, endpoint, include, exclude }),
        });
    }

    /// Text, or none for `None`; anything else is reported.
    fn model_text(&mut self, scope: Scope<'p>, expression: &'p Expr) -> Option<String> {
        let subject = Subject::Model { attribute: self.shown.clone() };
        match self.folder.fold(scope, expression) {
            Ok(Constant::Text(text)) => Some(text),
            Ok(Constant::None) => None,
            Ok(_) => {
                self.unresolved(scope, expression, subject, Reason::NotConstant("a value that is no text"));
                None
            }
            Err(reason) => {
                self.unresolved(scope, expression, subject, reason);
                None
            }
        }
    }

    fn model_patterns(&mut self, scope: Scope<'p>, expression: &'p Expr) -> Option<Vec<String>> {
        let subject = Subject::Model { attribute: self.shown.clone() };
        match self.folder.fold(scope, expression) {
            Ok(Constant::List(items) | Constant::Tuple(items)) => {
                Some(items.iter().filter_map(|item| item.as_text().map(str::to_owned)).collect())
            }
            Ok(Constant::Text(text)) => Some(vec![text]),
            Ok(_) => None,
            Err(reason) => {
                self.unresolved(scope, expression, subject, reason);
                None
            }
        }
    }

    fn dependency(&mut self, scope: Scope<'p>, call: &'p ExprCall) {
        let mut text = |key: &str| {
            let value = &call.arguments.find_keyword(key)?.value;
            match self.folder.fold(scope, value) {
                Ok(Constant::Text(text)) => Some(text),
                Ok(_) => None,
                Err(reason) => {
                    self.findings.unresolved.push(Unresolved {
                        place: scope.module.place(value),
                        subject: Subject::Dependency { attribute: self.shown.clone() },
                        reason,
                    });
                    None
                }
            }
        };
        let (url, deployment, cluster) = (text("url"), text("deployment"), text("cluster"));
        let mut dependency =
            Dependency { attribute: self.attribute.to_owned(), service: None, deployment, cluster, url };
        if let Some(on) = call.arguments.find_argument_value("on", 0).filter(|on| !on.is_none_literal_expr())
        {
            let found = self.folder.project.settle(scope, on).map(|entity| candidate(self.folder, &entity));
            if let Some(Candidate::Service(definition)) = found {
                dependency.service = Some(definition.class.name().to_owned());
                self.depended.push((self.service.dependencies.len(), definition));
            } else {
                let subject = Subject::Dependency { attribute: self.shown.clone() };
                let shown = scope.module.text(on).to_owned();
                self.unresolved(scope, on, subject, Reason::UnknownName(shown));
            }
        }
        self.service.dependencies.push(dependency);
    }

    fn unresolved(&mut self, scope: Scope<'p>, at: &Expr, subject: Subject, reason: Reason) {
        let place = scope.module.place(at);
        self.findings.unresolved.push(Unresolved { place, subject, reason });
    }
}

/// Whether an expression holds a call that declares a model.
fn mentions_model<'p>(folder: &Folder<'p>, scope: Scope<'p>, expression: &Expr) -> bool {
    match expression {
        Expr::If(choice) => {
            mentions_model(folder, scope, &choice.body) || mentions_model(folder, scope, &choice.orelse)
        }
        Expr::Call(call) => {
            let name = folder.project.external_name(scope, &call.func);
            name.is_some_and(|name| name.starts_with("bentoml.models."))
        }
        _ => false,
    }
}

/// Reads the keywords of `@bentoml.service(…)`.
fn read_decorator<'p>(
    folder: &Folder<'p>,
    scope: Scope<'p>,
    arguments: &'p Arguments,
    service: &mut Service,
    findings: &mut Findings,
) {
    let mut config = Map::new();
    for keyword in &arguments.keywords {
        let name = keyword.arg.as_ref().map_or("**", |name| name.as_str());
        if matches!(name, "image") {
            let is_none = matches!(keyword.value, Expr::NoneLiteral(_));
            service.image = (!is_none).then(|| scope.module.place(keyword));
            continue;
        }
        let value = match folder.fold(scope, &keyword.value) {
            Ok(value) if name != "**" => value,
            outcome => {
                let reason = outcome.err().unwrap_or(Reason::NotConstant("`**`"));
                findings.unresolved.push(Unresolved {
                    place: scope.module.place(&keyword.value),
                    subject: Subject::Keyword { keyword: format!("{}({name}=…)", service.class) },
                    reason,
                });
                continue;
            }
        };
        match (name, &value) {
            ("name", Constant::Text(text)) => service.name.clone_from(text),
            ("description", Constant::Text(text)) => service.description = Some(text.clone()),
            ("path_prefix", Constant::Text(text)) => service.path_prefix.clone_from(text),
            ("labels", Constant::Dict(entries)) => {
                let text = super::text::display;
                service.labels = entries.iter().map(|(key, value)| (text(key), text(value))).collect();
            }
            ("envs", Constant::List(items) | Constant::Tuple(items)) => {
                service.envs = items.iter().filter_map(variable).collect();
            }
            (name, _) if OWN_KEYWORDS.contains(&name) => {}
            (name, value) => {
                config.insert(name.to_owned(), value.to_json());
            }
        }
    }
    service.config = Json::Object(config);
}

fn variable(value: &Constant) -> Option<Variable> {
    let json = value.to_json();
    let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
    let stage = match text("stage").as_deref() {
        Some("build") => Stage::Build,
        Some("runtime") => Stage::Runtime,
        _ => Stage::All,
    };
    Some(Variable { name: text("name")?, value: text("value").unwrap_or_default(), stage })
}

/// Adds what the methods and the prefix imply.
fn complete_config(service: &mut Service) {
    let Some(config) = service.config.as_object_mut() else { return };
    if service.apis.iter().any(|api| api.is_task) {
        let traffic = config.entry("traffic").or_insert_with(|| json!({}));
        if let Some(traffic) = traffic.as_object_mut() {
            traffic.insert("external_queue".to_owned(), true.into());
            traffic.entry("concurrency").or_insert(1.into());
        }
    }
    if !service.path_prefix.is_empty() {
        let endpoints = config.entry("endpoints").or_insert_with(|| json!({}));
        if let Some(endpoints) = endpoints.as_object_mut() {
            for name in ["livez", "readyz"] {
                let route = super::join_route(&service.path_prefix, name);
                endpoints.entry(name).or_insert(route.into());
            }
        }
    }
}
