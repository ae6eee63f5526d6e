//! The API methods of a service class.

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Arguments, Decorator, Expr, Stmt, StmtFunctionDef};
use serde_json::{Value as Json, json};

use super::error::{Place, Subject, Unresolved};
use super::fold::{Constant, Folder};
use super::names::{Class, Scope};
use super::schema::Describer;

/// The media type of a stream whose type says nothing else.
const STREAM_MEDIA_TYPE: &str = "text/event-stream";

/// A method that can be called from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// The method.
    pub name: String,
    /// Its route, without the service's prefix.
    pub route: String,
    /// Where it is.
    pub place: Place,
    /// Its docstring.
    pub doc: Option<String>,
    /// Whether calls are merged.
    pub is_batchable: bool,
    /// Along which dimensions, in and out.
    pub batch_dim: (i64, i64),
    /// How many calls at most.
    pub max_batch_size: i64,
    /// For how long a call waits at most.
    pub max_latency_ms: i64,
    /// Whether it is a task.
    pub is_task: bool,
    /// Whether it answers in pieces.
    pub is_stream: bool,
    /// What it takes.
    pub input: Json,
    /// What it returns.
    pub output: Json,
    /// The descriptors of input and output that a function of a service of functions is given.
    pub descriptors: Option<(String, String)>,
}

impl Api {
    /// Its entry in `schema.json`.
    pub(super) fn schema(&self, route: &str) -> Json {
        json!({
            "name": self.name,
            "route": route,
            "batchable": self.is_batchable,
            "input": self.input,
            "output": self.output,
            "is_task": self.is_task,
        })
    }
}

/// Reads a method, if it is decorated as an API.
pub(super) fn api<'p>(
    folder: &Folder<'p>,
    class: Class<'p>,
    method: &'p StmtFunctionDef,
    unresolved: &mut Vec<Unresolved>,
) -> Option<Api> {
    let scope = Scope::of(class.module);
    let (arguments, is_task) =
        method.decorator_list.iter().find_map(|decorator| api_decorator(folder, scope, decorator))?;
    let name = method.name.as_str();
    let mut options = Options { folder, class, name, arguments, unresolved };
    let route = options.text("route").unwrap_or_else(|| format!("/{name}"));
    let is_stream = yields(&method.body);
    let input = match options.expression("input_spec") {
        Some(class) => Describer::new(folder).class(scope, class),
        None => Describer::new(folder).input(scope, &method.parameters),
    };
    let mut output = match options.expression("output_spec") {
        Some(class) => {
            super::schema::Output { schema: Describer::new(folder).class(scope, class), media_type: None }
        }
        None => Describer::new(folder).output(scope, method.returns.as_deref()),
    };
    if let Some(map) = output.schema.as_object_mut() {
        if is_stream {
            map.insert("is_stream".to_owned(), true.into());
        }
        let fallback = is_stream.then(|| STREAM_MEDIA_TYPE.to_owned());
        if let Some(media_type) = output.media_type.or(fallback) {
            map.insert("media_type".to_owned(), media_type.into());
        }
    }
    Some(Api {
        name: name.to_owned(),
        route,
        place: class.module.place(&method.name),
        doc: doc(&method.body),
        is_batchable: options.boolean("batchable"),
        batch_dim: options.dimensions(),
        max_batch_size: options.number("max_batch_size").unwrap_or(100),
        max_latency_ms: options.number("max_latency_ms").unwrap_or(60_000),
        is_task,
        is_stream,
        input,
        output: output.schema,
        descriptors: None,
    })
}

/// The arguments of `@bentoml.api` or `@bentoml.task`, and whether it is a task.
fn api_decorator<'p>(
    folder: &Folder<'p>,
    scope: Scope<'p>,
    decorator: &'p Decorator,
) -> Option<(Option<&'p Arguments>, bool)> {
    let (function, arguments) = match &decorator.expression {
        Expr::Call(call) => (&*call.func, Some(&call.arguments)),
        other => (other, None),
    };
    match folder.project.external_name(scope, function)?.as_str() {
        "bentoml.api" | "_bentoml_sdk.api" => Some((arguments, false)),
        "bentoml.task" | "_bentoml_sdk.task" => Some((arguments, true)),
        _ => None,
    }
}

/// The keywords of a decorator.
struct Options<'o, 'p> {
    folder: &'o Folder<'p>,
    class: Class<'p>,
    name: &'o str,
    arguments: Option<&'p Arguments>,
    unresolved: &'o mut Vec<Unresolved>,
}

impl<'p> Options<'_, 'p> {
    fn expression(&self, key: &str) -> Option<&'p Expr> {
        let value = &self.arguments?.find_keyword(key)?.value;
        (!matches!(value, Expr::NoneLiteral(_))).then_some(value)
    }

    fn constant(&mut self, key: &str) -> Option<Constant> {
        let expression = self.expression(key)?;
        match self.folder.fold(Scope::of(self.class.module), expression) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.unresolved.push(Unresolved {
                    place: self.class.module.place(expression),
                    subject: Subject::Keyword {
                        keyword: format!("{}.{}({key}=…)", self.class.name(), self.name),
                    },
                    reason,
                });
                None
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.constant(key)?.as_text().map(str::to_owned)
    }

    fn boolean(&mut self, key: &str) -> bool {
        self.constant(key) == Some(Constant::Bool(true))
    }

    fn number(&mut self, key: &str) -> Option<i64> {
        match self.constant(key)? {
            Constant::Int(value) => Some(value),
            _ => None,
        }
    }

    fn dimensions(&mut self) -> (i64, i64) {
        match self.constant("batch_dim") {
            Some(Constant::Int(both)) => (both, both),
            Some(Constant::Tuple(pair) | Constant::List(pair)) => match pair.as_slice() {
                [Constant::Int(input), Constant::Int(output)] => (*input, *output),
                _ => (0, 0),
            },
            _ => (0, 0),
        }
    }
}

/// The docstring of a body, without its common indentation.
pub(super) fn doc(body: &[Stmt]) -> Option<String> {
    let Some(Stmt::Expr(first)) = body.first() else { return None };
    let Expr::StringLiteral(literal) = &*first.value else { return None };
    let text = literal.value.to_str();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim();
    let rest: Vec<&str> = lines.collect();
    let indent = rest
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    let rest = rest.iter().map(|line| line.get(indent..).unwrap_or_default().trim_end());
    let whole: Vec<&str> = std::iter::once(first).chain(rest).collect();
    Some(whole.join("\n").trim().to_owned())
}

/// Whether a function is a generator.
fn yields(body: &[Stmt]) -> bool {
    struct Finder(bool);

    impl<'a> Visitor<'a> for Finder {
        fn visit_stmt(&mut self, statement: &'a Stmt) {
            // What is yielded in an inner function is not yielded here.
            if !matches!(statement, Stmt::FunctionDef(_) | Stmt::ClassDef(_)) {
                walk_stmt(self, statement);
            }
        }

        fn visit_expr(&mut self, expression: &'a Expr) {
            match expression {
                Expr::Yield(_) | Expr::YieldFrom(_) => self.0 = true,
                Expr::Lambda(_) => {}
                other => walk_expr(self, other),
            }
        }
    }

    let mut finder = Finder(false);
    finder.visit_body(body);
    finder.0
}
