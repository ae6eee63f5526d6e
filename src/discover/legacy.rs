//! A service of functions: `svc = bentoml.Service("name", runners=[…])` with `@svc.api(input=…, output=…)`.

use ruff_python_ast::{Arguments, Decorator, Expr, ExprCall, Stmt, StmtFunctionDef};
use serde_json::{Value as Json, json};

use super::api::{Api, doc};
use super::error::{Reason, Subject, Unresolved};
use super::fold::{Constant, Folder};
use super::names::{Entity, Scope};
use super::runners::Given;
use super::service::{Findings, Service, Style};
use super::source::{Module, visit_statements};

/// The call that makes such a service, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Legacy<'p> {
    pub(super) scope: Scope<'p>,
    pub(super) call: &'p ExprCall,
}

/// Reads such a service; `attribute` is the variable that it is assigned to.
pub(super) fn read<'p>(
    folder: &Folder<'p>,
    legacy: Legacy<'p>,
    attribute: &str,
    findings: &mut Findings,
) -> Service {
    let Legacy { scope, call } = legacy;
    let Given { models, runners, .. } = Given::read(folder, scope, &call.arguments, findings);
    let apis = folder.project.modules().flat_map(|module| apis(folder, legacy, module)).collect();
    Service {
        name: name(folder, legacy, attribute, findings),
        style: Style::Functions,
        class: attribute.to_owned(),
        module: scope.module.name.clone(),
        place: scope.module.place(call),
        doc: None,
        description: None,
        path_prefix: String::new(),
        labels: Vec::new(),
        envs: Vec::new(),
        config: json!({}),
        models,
        runners,
        dependencies: Vec::new(),
        apis,
        image: None,
    }
}

fn name<'p>(
    folder: &Folder<'p>,
    Legacy { scope, call }: Legacy<'p>,
    attribute: &str,
    findings: &mut Findings,
) -> String {
    let value = call.arguments.find_argument_value("name", 0);
    let folded = value.map_or(Err(Reason::NotConstant("no name")), |value| folder.fold(scope, value));
    let reason = match folded {
        Ok(Constant::Text(name)) => return name.to_lowercase(),
        Ok(_) => Reason::NotConstant("a value that is no text"),
        Err(reason) => reason,
    };
    findings.unresolved.push(Unresolved {
        place: value.map_or_else(|| scope.module.place(call), |value| scope.module.place(value)),
        subject: Subject::Keyword { keyword: "bentoml.Service(name=…)".to_owned() },
        reason,
    });
    attribute.to_owned()
}

/// The functions of a module that are APIs of the service.
fn apis<'p>(folder: &Folder<'p>, legacy: Legacy<'p>, module: &'p Module) -> Vec<Api> {
    let mut apis = Vec::new();
    visit_statements(&module.body, &mut |statement| {
        if let Stmt::FunctionDef(function) = statement
            && let Some(arguments) =
                function.decorator_list.iter().find_map(|one| api_arguments(folder, legacy, module, one))
        {
            apis.push(api(folder, module, function, arguments));
        }
    });
    apis
}

/// The arguments of `@svc.api(…)` of this service.
fn api_arguments<'p>(
    folder: &Folder<'p>,
    legacy: Legacy<'p>,
    module: &'p Module,
    decorator: &'p Decorator,
) -> Option<&'p Arguments> {
    let Expr::Call(call) = &decorator.expression else { return None };
    let Expr::Attribute(method) = &*call.func else { return None };
    let owner = folder.project.settle(Scope::of(module), &method.value)?;
    let is_own = matches!(owner, Entity::Value(_, Expr::Call(made)) if std::ptr::eq(made, legacy.call));
    (is_own && method.attr.as_str() == "api").then_some(&call.arguments)
}

fn api<'p>(
    folder: &Folder<'p>,
    module: &'p Module,
    function: &'p StmtFunctionDef,
    arguments: &'p Arguments,
) -> Api {
    let scope = Scope::of(module);
    let text = |key: &str| match folder.fold(scope, &arguments.find_keyword(key)?.value) {
        Ok(Constant::Text(text)) => Some(text),
        _ => None,
    };
    let descriptor = |key, index| {
        let descriptor = arguments.find_argument_value(key, index)?;
        descriptor_name(folder, scope, descriptor)
    };
    let (input, output) = (descriptor("input", 0), descriptor("output", 1));
    let name = text("name").unwrap_or_else(|| function.name.to_string());
    let route = text("route").unwrap_or_else(|| name.clone());
    Api {
        route: format!("/{}", route.trim_start_matches('/')),
        name,
        place: module.place(&function.name),
        doc: text("doc").or_else(|| doc(&function.body)),
        is_batchable: false,
        batch_dim: (0, 0),
        max_batch_size: 1,
        max_latency_ms: 0,
        is_task: false,
        is_stream: false,
        input: schema(input.as_deref()),
        output: schema(output.as_deref()),
        descriptors: Some((input.unwrap_or_default(), output.unwrap_or_else(|| returned(function)))),
    }
}

/// `NumpyNdarray` of `NumpyNdarray(…)` and of `NumpyNdarray.from_sample(…)`.
fn descriptor_name<'p>(folder: &Folder<'p>, scope: Scope<'p>, value: &'p Expr) -> Option<String> {
    let (scope, value) = match folder.project.settle(scope, value) {
        Some(Entity::Value(scope, value)) => (scope, value),
        _ => (scope, value),
    };
    let Expr::Call(call) = value else { return None };
    let name = folder.project.external_name(scope, &call.func)?;
    let name = name.strip_prefix("bentoml.io.")?;
    Some(name.strip_suffix(".from_sample").unwrap_or(name).to_owned())
}

/// The descriptor of an API that is given none for its output, by its annotation.
fn returned(function: &StmtFunctionDef) -> String {
    let is_text = matches!(function.returns.as_deref(), Some(Expr::Name(name)) if name.id.as_str() == "str");
    if is_text { "Text" } else { "JSON" }.to_owned()
}

/// What is known of a descriptor's bodies without running it; the server's own `/docs.json` says all.
fn schema(descriptor: Option<&str>) -> Json {
    match descriptor {
        Some("Text") => json!({"type": "string", "media_type": "text/plain"}),
        Some("Image") => json!({"type": "file", "media_type": "image/*"}),
        Some("File") => json!({"type": "file", "media_type": "*/*"}),
        Some("Multipart") => json!({"type": "object", "media_type": "multipart/form-data"}),
        Some("NumpyNdarray") => json!({"type": "tensor"}),
        Some("PandasDataFrame") => json!({"type": "dataframe"}),
        _ => json!({}),
    }
}
