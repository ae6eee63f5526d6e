//! The runners of a service of functions, and the models that they and the service are given.

use ruff_python_ast::{Arguments, Expr, ExprCall};
use ruff_text_size::Ranged;

use super::error::{Reason, Subject, Unresolved};
use super::fold::{Constant, Folder};
use super::loads::is_load;
use super::names::{Entity, Scope};
use super::service::{Findings, ModelReference, ModelSource};

/// How deep a model may be wrapped: `get(…).with_options(…).to_runner()`.
const DEPTH: usize = 16;

/// A runner as the source declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunnerReference {
    /// The name that it is given.
    pub name: Option<String>,
    /// The class of a runner of one's own; a model's runner has that of the model's framework.
    pub class: Option<String>,
    /// Whether it is in the process of whoever calls it.
    pub is_embedded: bool,
    /// The tags of its models, as written.
    pub models: Vec<String>,
}

/// Reads what a service of functions is given.
pub(super) struct Given<'m, 'p> {
    folder: &'m Folder<'p>,
    findings: &'m mut Findings,
    /// Every model, each once.
    pub(super) models: Vec<ModelReference>,
    /// Every runner.
    pub(super) runners: Vec<RunnerReference>,
}

impl<'m, 'p> Given<'m, 'p> {
    /// Reads `models=[…]` and `runners=[…]`.
    pub(super) fn read(
        folder: &'m Folder<'p>,
        scope: Scope<'p>,
        arguments: &'p Arguments,
        findings: &'m mut Findings,
    ) -> Self {
        let mut given = Self { folder, findings, models: Vec::new(), runners: Vec::new() };
        if let Some(models) = arguments.find_keyword("models") {
            given.models("models", scope, &models.value);
        }
        if let Some(runners) = arguments.find_keyword("runners") {
            for (index, (scope, item)) in given.items(scope, &runners.value).into_iter().enumerate() {
                given.runner(&format!("runners[{index}]"), scope, item);
            }
        }
        given
    }

    /// The items of a list that is written out.
    fn items(&self, scope: Scope<'p>, value: &'p Expr) -> Vec<(Scope<'p>, &'p Expr)> {
        let (scope, value) = self.value_of(scope, value);
        let items = match value {
            Expr::List(list) => &list.elts,
            Expr::Tuple(tuple) => &tuple.elts,
            _ => return Vec::new(),
        };
        items.iter().map(|item| (scope, item)).collect()
    }

    /// The tags of the models in a list.
    fn models(&mut self, shown: &str, scope: Scope<'p>, value: &'p Expr) -> Vec<String> {
        let items = self.items(scope, value).into_iter().enumerate();
        items
            .filter_map(|(index, (scope, item))| self.model(&format!("{shown}[{index}]"), scope, item, DEPTH))
            .collect()
    }

    /// What is not understood is no runner here.
    fn runner(&mut self, shown: &str, scope: Scope<'p>, value: &'p Expr) {
        let (scope, value) = self.value_of(scope, value);
        let Expr::Call(call) = value else { return };
        if let Expr::Attribute(method) = &*call.func
            && method.attr.as_str() == "to_runner"
        {
            let models = self.model(shown, scope, &method.value, DEPTH).into_iter().collect();
            let name = self.text(scope, call.arguments.find_argument_value("name", 0));
            self.add(scope, call, name, None, models);
            return;
        }
        match self.folder.project.external_name(scope, &call.func).as_deref() {
            Some("bentoml.Runner" | "bentoml.legacy.Runner") => self.own_runner(shown, scope, call),
            Some(name) if name.ends_with(".load_runner") => {
                let models = self.declare(shown, scope, call).into_iter().collect();
                let name = self.text(scope, call.arguments.find_keyword("name").map(|name| &name.value));
                self.add(scope, call, name, None, models);
            }
            _ => {}
        }
    }

    /// `Runner(class, models=[…], name=…)`; the class may be that of a model's own runner.
    fn own_runner(&mut self, shown: &str, scope: Scope<'p>, call: &'p ExprCall) {
        let class = call.arguments.find_argument_value("runnable_class", 0);
        let (class, mut models) = match class.map(|class| self.value_of(scope, class)) {
            Some((scope, Expr::Call(made))) => match &*made.func {
                Expr::Attribute(method) if method.attr.as_str() == "to_runnable" => {
                    (None, self.model(shown, scope, &method.value, DEPTH).into_iter().collect())
                }
                _ => (None, Vec::new()),
            },
            Some((scope, class)) => (self.class_name(scope, class), Vec::new()),
            None => (None, Vec::new()),
        };
        if let Some(given) = call.arguments.find_keyword("models") {
            let given = self.models(shown, scope, &given.value);
            models.extend(given);
        }
        let name = self.text(scope, call.arguments.find_keyword("name").map(|name| &name.value));
        self.add(scope, call, name, class, models);
    }

    fn add(
        &mut self,
        scope: Scope<'p>,
        call: &'p ExprCall,
        name: Option<String>,
        class: Option<String>,
        models: Vec<String>,
    ) {
        let embedded = call.arguments.find_keyword("embedded");
        let is_embedded = embedded.is_some_and(|keyword| {
            self.folder.fold(scope, &keyword.value).is_ok_and(|value| value.is_true())
        });
        self.runners.push(RunnerReference { name, class, is_embedded, models });
    }

    fn text(&self, scope: Scope<'p>, value: Option<&'p Expr>) -> Option<String> {
        let text = self.folder.fold(scope, value?).ok()?;
        text.as_text().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn class_name(&self, scope: Scope<'p>, class: &'p Expr) -> Option<String> {
        match (self.folder.project.settle(scope, class), class) {
            (Some(Entity::Class(class)), _) => Some(class.name().to_owned()),
            (Some(Entity::External(name)), _) => name.rsplit('.').next().map(str::to_owned),
            (_, Expr::Name(name)) => Some(name.id.to_string()),
            _ => None,
        }
    }

    /// Follows a model to the call that names it, and gives its tag. What is not understood is no model here: the loads
    /// that nobody has taken for declarations are reported.
    fn model(&mut self, shown: &str, scope: Scope<'p>, value: &'p Expr, depth: usize) -> Option<String> {
        let (scope, value) = self.value_of(scope, value);
        let (Expr::Call(call), Some(depth)) = (value, depth.checked_sub(1)) else { return None };
        if let Expr::Attribute(method) = &*call.func
            && method.attr.as_str() == "with_options"
        {
            return self.model(shown, scope, &method.value, depth);
        }
        let name = self.folder.project.external_name(scope, &call.func)?;
        if is_load(&name) { self.declare(shown, scope, call) } else { None }
    }

    /// The tag that a call names, whose model is a dependency.
    fn declare(&mut self, shown: &str, scope: Scope<'p>, call: &'p ExprCall) -> Option<String> {
        let declared = self.findings.declared.entry(scope.module.name.clone()).or_default();
        let is_new = !declared.contains(&call.range());
        if is_new {
            declared.push(call.range());
        }
        let first = call.arguments.args.first();
        let tag = first.or_else(|| Some(&call.arguments.keywords.first()?.value))?;
        let reason = match self.folder.fold(scope, tag) {
            Ok(Constant::Text(tag)) => {
                if is_new {
                    self.models.push(ModelReference {
                        attribute: shown.to_owned(),
                        place: scope.module.place(call),
                        model: ModelSource::Store { tag: tag.clone() },
                    });
                }
                return Some(tag);
            }
            Ok(_) => Reason::NotConstant("a value that is no text"),
            Err(reason) => reason,
        };
        if is_new {
            let subject = Subject::Model { attribute: shown.to_owned() };
            self.findings.unresolved.push(Unresolved { place: scope.module.place(tag), subject, reason });
        }
        None
    }

    /// What a name is assigned; anything else is itself.
    fn value_of(&self, scope: Scope<'p>, value: &'p Expr) -> (Scope<'p>, &'p Expr) {
        match value {
            Expr::Name(_) | Expr::Attribute(_) => match self.folder.project.settle(scope, value) {
                Some(Entity::Value(scope, value)) => (scope, value),
                _ => (scope, value),
            },
            other => (scope, other),
        }
    }
}
