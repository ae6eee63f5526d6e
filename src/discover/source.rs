//! The project's Python files, parsed. The parser is used in this directory alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ruff_python_ast::{Alias, Expr, Stmt, StmtClassDef, StmtFunctionDef, StmtImportFrom};
use ruff_text_size::{Ranged, TextSize};

use super::error::{Error, Place};
use crate::text::{self, TextError};

/// The files that a service consists of, as far as they are in the project.
pub(super) struct Project {
    modules: BTreeMap<String, Module>,
}

/// One parsed file.
pub(super) struct Module {
    /// Its dotted name.
    pub(super) name: String,
    /// Whether it is the `__init__.py` of a package.
    is_package: bool,
    /// Its path in the project.
    pub(super) file: String,
    source: String,
    pub(super) body: Vec<Stmt>,
}

/// What a name stands for in a file or class.
#[derive(Clone, Copy)]
pub(super) enum Binding<'a> {
    /// `import a.b as name`, or `import name.b`.
    Import(&'a Alias),
    /// `from m import x as name`.
    From(&'a StmtImportFrom, &'a Alias),
    Class(&'a StmtClassDef),
    Function(&'a StmtFunctionDef),
    Value(&'a Expr),
    /// Bound by something that is not followed.
    Other,
}

/// The definition of a name, if there is one that can be relied on.
pub(super) enum Found<'a> {
    One(Binding<'a>),
    /// Several that could count.
    Several(Vec<Binding<'a>>),
    None,
}

impl Project {
    /// Parses a module and everything of the project that it imports.
    pub(super) fn load(roots: &[PathBuf], context: &Path, entry: &str) -> Result<Self, Error> {
        let mut project = Self { modules: BTreeMap::new() };
        let mut wanted = vec![entry.to_owned()];
        while let Some(name) = wanted.pop() {
            if project.modules.contains_key(&name) {
                continue;
            }
            let Some(module) = read_module(roots, context, &name)? else { continue };
            wanted.extend(module.imported_names());
            project.modules.insert(name, module);
        }
        if project.modules.contains_key(entry) {
            return Ok(project);
        }
        let path = PathBuf::from(format!("{}.py", entry.replace('.', "/")));
        Err(Error::NoModule { module: entry.to_owned(), path })
    }

    pub(super) fn module(&self, name: &str) -> Option<&Module> {
        self.modules.get(name)
    }

    /// The modules in the order of their names.
    pub(super) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }
}

fn read_module(roots: &[PathBuf], context: &Path, name: &str) -> Result<Option<Module>, Error> {
    let relative = name.replace('.', "/");
    for root in roots {
        let candidates = [(format!("{relative}.py"), false), (format!("{relative}/__init__.py"), true)];
        for (candidate, is_package) in candidates {
            let path = root.join(candidate);
            let file = path.strip_prefix(context).unwrap_or(&path).to_string_lossy().into_owned();
            let source = match text::read(&path) {
                Ok(source) => source,
                Err(TextError::File(error))
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(TextError::File(source)) => return Err(Error::Read { path, source }),
                Err(TextError::NotUtf8(source)) => {
                    let place = Place { file, line: source.line, column: source.column };
                    return Err(Error::Encoding { place, source });
                }
            };
            return Module::parse(name.to_owned(), is_package, file, source).map(Some);
        }
    }
    Ok(None)
}

impl Module {
    pub(super) fn parse(name: String, is_package: bool, file: String, source: String) -> Result<Self, Error> {
        match ruff_python_parser::parse_module(&source) {
            Ok(parsed) => {
                let body = parsed.into_syntax().body.into_iter().collect();
                Ok(Self { name, is_package, file, source, body })
            }
            Err(error) => Err(Error::Syntax {
                place: place_of(&file, &source, error.location.start()),
                message: error.error.to_string(),
            }),
        }
    }

    /// Where something stands.
    pub(super) fn place(&self, node: &impl Ranged) -> Place {
        place_of(&self.file, &self.source, node.start())
    }

    /// The text of something.
    pub(super) fn text(&self, node: &impl Ranged) -> &str {
        &self.source[node.range()]
    }

    /// The absolute name of the module that a `from` import speaks about.
    pub(super) fn origin(&self, import: &StmtImportFrom) -> String {
        let named = import.module.as_ref().map_or("", |name| name.as_str());
        if import.level == 0 {
            return named.to_owned();
        }
        let mut parts: Vec<&str> = self.name.split('.').collect();
        let up = usize::try_from(import.level).unwrap_or(usize::MAX) - usize::from(self.is_package);
        parts.truncate(parts.len().saturating_sub(up));
        parts.extend(named.split('.').filter(|part| !part.is_empty()));
        parts.join(".")
    }

    /// Every module that is imported anywhere in the file, whether it is in the project or not.
    fn imported_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        visit_statements(&self.body, &mut |statement| match statement {
            Stmt::Import(import) => {
                for alias in &import.names {
                    names.extend(prefixes(&alias.name));
                }
            }
            Stmt::ImportFrom(import) => {
                let origin = self.origin(import);
                names.extend(prefixes(&origin));
                names.extend(import.names.iter().map(|alias| format!("{origin}.{}", alias.name)));
            }
            _ => {}
        });
        names
    }
}

/// `a.b.c` imports `a`, `a.b` and `a.b.c`.
fn prefixes(name: &str) -> impl Iterator<Item = String> {
    let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
    ends.filter(|end| *end > 0).map(|end| name[..end].to_owned())
}

fn place_of(file: &str, source: &str, offset: TextSize) -> Place {
    let before = &source[..usize::from(offset).min(source.len())];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Calls a function for every statement, those inside of blocks, functions and classes included.
pub(super) fn visit_statements<'a>(body: &'a [Stmt], visit: &mut impl FnMut(&'a Stmt)) {
    for statement in body {
        visit(statement);
        match statement {
            Stmt::FunctionDef(function) => visit_statements(&function.body, visit),
            Stmt::ClassDef(class) => visit_statements(&class.body, visit),
            _ => {
                for block in blocks(statement) {
                    visit_statements(block, visit);
                }
            }
        }
    }
}

/// The blocks of a statement that belong to the same scope.
pub(super) fn blocks(statement: &Stmt) -> Vec<&[Stmt]> {
    match statement {
        Stmt::If(branch) => {
            let others = branch.elif_else_clauses.iter().map(|clause| &clause.body[..]);
            std::iter::once(&branch.body[..]).chain(others).collect()
        }
        Stmt::Try(attempt) => {
            let handlers = attempt.handlers.iter().map(|handler| {
                let ruff_python_ast::ExceptHandler::ExceptHandler(handler) = handler;
                &handler.body[..]
            });
            std::iter::once(&attempt.body[..])
                .chain(handlers)
                .chain([&attempt.orelse[..], &attempt.finalbody[..]])
                .collect()
        }
        Stmt::With(with) => vec![&with.body[..]],
        Stmt::For(each) => vec![&each.body[..], &each.orelse[..]],
        Stmt::While(repeat) => vec![&repeat.body[..], &repeat.orelse[..]],
        Stmt::Match(choice) => choice.cases.iter().map(|case| &case.body[..]).collect(),
        _ => Vec::new(),
    }
}

/// Whether this is `if __name__ == "__main__":`, which does not run on import.
pub(super) fn is_main_guard(statement: &Stmt) -> bool {
    let Stmt::If(branch) = statement else { return false };
    let Expr::Compare(compare) = &*branch.test else { return false };
    matches!(&*compare.left, Expr::Name(name) if name.id.as_str() == "__name__")
}

/// Finds what a name is bound to in a body of statements.
///
/// A later unconditional definition replaces earlier ones; the first of several imports counts, for
/// the others are fallbacks.
pub(super) fn find<'a>(body: &'a [Stmt], name: &str) -> Found<'a> {
    let mut bindings = Vec::new();
    collect(body, name, false, &mut bindings);
    let is_import = |binding: &Binding<'_>| matches!(binding, Binding::Import(_) | Binding::From(..));
    match bindings.as_slice() {
        [] => Found::None,
        [(binding, _)] => Found::One(*binding),
        [(first, _), ..] if bindings.iter().all(|(binding, _)| is_import(binding)) => Found::One(*first),
        [.., (last, false)] => Found::One(*last),
        several => Found::Several(several.iter().map(|(binding, _)| *binding).collect()),
    }
}

/// The names of a body that are bound to something, in order.
pub(super) fn names(body: &[Stmt]) -> Vec<&str> {
    let mut names = Vec::new();
    for statement in body {
        match statement {
            Stmt::ClassDef(class) => names.push(class.name.as_str()),
            Stmt::FunctionDef(function) => names.push(function.name.as_str()),
            Stmt::Assign(assign) => names.extend(assign.targets.iter().filter_map(name_of)),
            Stmt::AnnAssign(assign) => names.extend(name_of(&assign.target)),
            Stmt::Import(import) => {
                for alias in &import.names {
                    let local = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    names.push(local.split('.').next().unwrap_or(local));
                }
            }
            Stmt::ImportFrom(import) => {
                let local = |alias: &'_ Alias| alias.asname.is_some();
                for alias in &import.names {
                    names.push(if local(alias) {
                        alias.asname.as_ref().map_or("", |name| name.as_str())
                    } else {
                        alias.name.as_str()
                    });
                }
            }
            other if is_main_guard(other) => {}
            other => {
                for block in blocks(other) {
                    names.extend(self::names(block));
                }
            }
        }
    }
    let mut known = std::collections::BTreeSet::new();
    names.retain(|name| known.insert(*name));
    names
}

fn name_of(expression: &Expr) -> Option<&str> {
    if let Expr::Name(name) = expression { Some(name.id.as_str()) } else { None }
}

fn collect<'a>(body: &'a [Stmt], name: &str, conditional: bool, found: &mut Vec<(Binding<'a>, bool)>) {
    let is_named = |expression: &Expr| name_of(expression) == Some(name);
    for statement in body {
        let mut bind = |binding| found.push((binding, conditional));
        match statement {
            Stmt::ClassDef(class) if class.name.as_str() == name => bind(Binding::Class(class)),
            Stmt::FunctionDef(function) if function.name.as_str() == name => {
                bind(Binding::Function(function));
            }
            Stmt::Assign(assign) => {
                for target in &assign.targets {
                    if is_named(target) {
                        bind(Binding::Value(&assign.value));
                    } else if mentions(target, name) {
                        bind(Binding::Other);
                    }
                }
            }
            Stmt::AnnAssign(assign) if is_named(&assign.target) => {
                if let Some(value) = &assign.value {
                    bind(Binding::Value(value));
                }
            }
            Stmt::AugAssign(assign) if is_named(&assign.target) => bind(Binding::Other),
            Stmt::Import(import) => {
                for alias in &import.names {
                    let local = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    let first = local.split('.').next();
                    if first == Some(name) {
                        bind(Binding::Import(alias));
                    }
                }
            }
            Stmt::ImportFrom(import) => {
                for alias in &import.names {
                    if alias.asname.as_ref().unwrap_or(&alias.name).as_str() == name {
                        bind(Binding::From(import, alias));
                    }
                }
            }
            other => {
                collect_blocks(other, name, conditional, found);
            }
        }
    }
}

fn collect_blocks<'a>(
    statement: &'a Stmt,
    name: &str,
    conditional: bool,
    found: &mut Vec<(Binding<'a>, bool)>,
) {
    if is_main_guard(statement) {
        return;
    }
    match statement {
        Stmt::For(each) if mentions(&each.target, name) => found.push((Binding::Other, true)),
        Stmt::With(with) => {
            let bound = |item: &ruff_python_ast::WithItem| {
                item.optional_vars.as_ref().is_some_and(|target| mentions(target, name))
            };
            if with.items.iter().any(bound) {
                found.push((Binding::Other, conditional));
            }
        }
        _ => {}
    }
    let conditional = conditional || !matches!(statement, Stmt::With(_));
    for block in blocks(statement) {
        collect(block, name, conditional, found);
    }
}

fn mentions(target: &Expr, name: &str) -> bool {
    match target {
        Expr::Name(target) => target.id.as_str() == name,
        Expr::Tuple(tuple) => tuple.elts.iter().any(|item| mentions(item, name)),
        Expr::List(list) => list.elts.iter().any(|item| mentions(item, name)),
        Expr::Starred(starred) => mentions(&starred.value, name),
        _ => false,
    }
}
