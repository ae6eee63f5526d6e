//! Models that are loaded where a build cannot see them as dependencies.
//!
//! A model belongs to a bento when it is declared at class level. The same call in `__init__`, in
//! a method or at module level works on the developer's machine and fails in the container.

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, Stmt};
use ruff_text_size::{Ranged, TextRange};

use super::error::Place;
use super::fold::{Constant, Folder};
use super::names::{Class, Scope};
use super::source::{Module, is_main_guard};

/// A model that is loaded late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateLoad {
    /// Where.
    pub place: Place,
    /// What is called: `bentoml.sklearn.load_model`.
    pub call: String,
    /// The model, if it is known.
    pub model: Option<String>,
    /// Whether the call stands at module level.
    pub is_at_module_level: bool,
}

impl LateLoad {
    /// What makes the model part of the bento: for models of the hub, the declaration alone.
    pub fn fix(&self) -> String {
        let declare = |class: &str, model: &str| {
            format!("declare it in the service class, `model = bentoml.models.{class}(\"{model}\")`")
        };
        if self.call.ends_with("HuggingFaceModel") {
            return declare("HuggingFaceModel", self.model.as_deref().unwrap_or("ORGANISATION/NAME"));
        }
        let declared = declare("BentoModel", self.model.as_deref().unwrap_or("NAME:VERSION"));
        format!("{declared}, or list it under `models:` in the bentofile")
    }

    /// The name that the model has in a bento, if it is known.
    pub fn model_name(&self) -> Option<String> {
        let name = self.model.as_deref()?.split(':').next()?;
        Some(name.to_lowercase().replace('/', "--"))
    }
}

/// Finds the loads in a file that are not among the calls that were taken as declarations.
pub(super) fn late_loads<'p>(
    folder: &Folder<'p>,
    module: &'p Module,
    declared: &[TextRange],
) -> Vec<LateLoad> {
    let mut finder = Finder { folder, module, declared, class: None, functions: 0, loads: Vec::new() };
    finder.visit_body(&module.body);
    finder.loads
}

struct Finder<'f, 'p> {
    folder: &'f Folder<'p>,
    module: &'p Module,
    declared: &'f [TextRange],
    class: Option<Class<'p>>,
    functions: usize,
    loads: Vec<LateLoad>,
}

impl Finder<'_, '_> {
    fn check(&mut self, call: &ExprCall) {
        let scope = Scope { module: self.module, class: self.class.map(|class| class.definition) };
        let Some(name) = self.folder.project.external_name(scope, &call.func) else { return };
        if !is_load(&name) || self.declared.contains(&call.range()) {
            return;
        }
        let argument = call.arguments.args.first();
        if argument.is_some_and(is_attribute_of_self) {
            // Most likely a model that is declared at class level.
            return;
        }
        let model = argument.and_then(|model| self.folder.fold(scope, model).ok());
        self.loads.push(LateLoad {
            place: self.module.place(call),
            call: name,
            model: match model {
                Some(Constant::Text(model)) => Some(model),
                _ => None,
            },
            is_at_module_level: self.functions == 0 && self.class.is_none(),
        });
    }
}

impl<'p> Visitor<'p> for Finder<'_, 'p> {
    fn visit_stmt(&mut self, statement: &'p Stmt) {
        if is_main_guard(statement) {
            return;
        }
        let outer = self.class;
        match statement {
            Stmt::ClassDef(definition) => {
                self.class = Some(Class { module: self.module, definition });
                walk_stmt(self, statement);
            }
            Stmt::FunctionDef(_) => {
                self.functions += 1;
                walk_stmt(self, statement);
                self.functions -= 1;
            }
            _ => walk_stmt(self, statement),
        }
        self.class = outer;
    }

    fn visit_expr(&mut self, expression: &'p Expr) {
        if let Expr::Call(call) = expression {
            self.check(call);
        }
        walk_expr(self, expression);
    }
}

/// `self.model`, `self.model.tag` and the like.
fn is_attribute_of_self(expression: &Expr) -> bool {
    match expression {
        Expr::Attribute(attribute) => match &*attribute.value {
            Expr::Name(name) => name.id.as_str() == "self",
            owner => is_attribute_of_self(owner),
        },
        _ => false,
    }
}

/// Whether a call finds or loads a model of the store or the hub.
pub(super) fn is_load(name: &str) -> bool {
    if matches!(
        name,
        "bentoml.models.get"
            | "bentoml.models.BentoModel"
            | "bentoml.models.HuggingFaceModel"
            | "bentoml.get"
    ) {
        return true;
    }
    let framework = name.strip_prefix("bentoml.").and_then(|rest| rest.split_once('.'));
    framework.is_some_and(|(framework, function)| {
        framework != "models" && matches!(function, "load_model" | "get" | "load_runner")
    })
}
