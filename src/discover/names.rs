//! Following names: through imports, aliases and attributes, to a definition or out of the project.

use ruff_python_ast::{Expr, Stmt, StmtClassDef};

use super::error::Reason;
use super::source::{Binding, Found, Module, Project, find};

/// How many steps a name is followed; more is a circle.
const DEPTH: usize = 32;

/// Where an expression stands: its names are looked up in the class first, then in the file.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) module: &'a Module,
    pub(super) class: Option<&'a StmtClassDef>,
}

/// A class of the project.
#[derive(Clone, Copy)]
pub(super) struct Class<'a> {
    pub(super) module: &'a Module,
    pub(super) definition: &'a StmtClassDef,
}

/// What a name leads to.
#[derive(Clone)]
pub(super) enum Entity<'a> {
    /// Something outside of the project, by its dotted name.
    External(String),
    Module(&'a Module),
    Class(Class<'a>),
    Function,
    /// The value that a name is assigned, and where that stands.
    Value(Scope<'a>, &'a Expr),
}

impl<'a> Scope<'a> {
    /// The scope of a file.
    pub(super) fn of(module: &'a Module) -> Self {
        Self { module, class: None }
    }
}

impl<'a> Class<'a> {
    /// The scope of the class's body.
    pub(super) fn scope(self) -> Scope<'a> {
        Scope { module: self.module, class: Some(self.definition) }
    }

    /// Its name.
    pub(super) fn name(self) -> &'a str {
        self.definition.name.as_str()
    }

    /// Whether both are the same definition.
    pub(super) fn is(self, other: Self) -> bool {
        std::ptr::eq(self.definition, other.definition)
    }
}

impl Project {
    /// Follows a name or a dotted name; an assigned value is given as it is.
    pub(super) fn resolve<'a>(&'a self, scope: Scope<'a>, expression: &Expr) -> Result<Entity<'a>, Reason> {
        self.follow(scope, expression, DEPTH)
    }

    /// The dotted name of something outside of the project, aliases followed.
    pub(super) fn external_name<'a>(&'a self, scope: Scope<'a>, expression: &Expr) -> Option<String> {
        match self.settle(scope, expression)? {
            Entity::External(name) => Some(name),
            _ => None,
        }
    }

    /// Follows a name, and through assignments of names to other names.
    pub(super) fn settle<'a>(&'a self, scope: Scope<'a>, expression: &Expr) -> Option<Entity<'a>> {
        let mut entity = self.resolve(scope, expression).ok()?;
        for _ in 0..DEPTH {
            match entity {
                Entity::Value(scope, value @ (Expr::Name(_) | Expr::Attribute(_))) => {
                    entity = self.resolve(scope, value).ok()?;
                }
                other => return Some(other),
            }
        }
        None
    }

    /// The bases of a class in the project, and the classes themselves, in the order in which
    /// attributes are looked up.
    pub(super) fn ancestry<'a>(&'a self, class: Class<'a>) -> Vec<Class<'a>> {
        let mut order: Vec<Class<'a>> = Vec::new();
        let mut waiting = vec![class];
        while let Some(class) = waiting.pop() {
            if order.iter().any(|known| known.is(class)) || order.len() > DEPTH {
                continue;
            }
            order.push(class);
            let bases = class.definition.arguments.iter().flat_map(|arguments| &arguments.args);
            let found = bases.filter_map(|base| match self.settle(Scope::of(class.module), base) {
                Some(Entity::Class(base)) => Some(base),
                _ => None,
            });
            let found: Vec<_> = found.collect();
            waiting.extend(found.into_iter().rev());
        }
        order
    }

    /// The dotted names of the outside classes that a class inherits from.
    pub(super) fn external_bases<'a>(&'a self, class: Class<'a>) -> Vec<String> {
        let classes = self.ancestry(class).into_iter();
        let bases = classes.flat_map(|class| {
            let arguments = class.definition.arguments.iter().flat_map(|arguments| &arguments.args);
            arguments.filter_map(move |base| {
                let plain = if let Expr::Subscript(generic) = base { &generic.value } else { base };
                self.external_name(Scope::of(class.module), plain)
            })
        });
        bases.collect()
    }

    fn follow<'a>(&'a self, scope: Scope<'a>, expression: &Expr, depth: usize) -> Result<Entity<'a>, Reason> {
        let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
        match expression {
            Expr::Name(name) => self.name(scope, name.id.as_str(), depth),
            Expr::Attribute(attribute) => {
                let owner = self.follow(scope, &attribute.value, depth)?;
                self.member(owner, attribute.attr.as_str(), depth)
            }
            _ => Err(Reason::NotConstant("an expression")),
        }
    }

    fn name<'a>(&'a self, scope: Scope<'a>, name: &str, depth: usize) -> Result<Entity<'a>, Reason> {
        if let Some(class) = scope.class
            && let Some(entity) = self.bound(scope, &class.body, name, depth)?
        {
            return Ok(entity);
        }
        let outer = Scope::of(scope.module);
        if let Some(entity) = self.bound(outer, &scope.module.body, name, depth)? {
            return Ok(entity);
        }
        if let Some(entity) = self.starred(scope.module, name, depth)? {
            return Ok(entity);
        }
        Ok(Entity::External(format!("builtins.{name}")))
    }

    fn bound<'a>(
        &'a self,
        scope: Scope<'a>,
        body: &'a [Stmt],
        name: &str,
        depth: usize,
    ) -> Result<Option<Entity<'a>>, Reason> {
        let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
        let binding = match find(body, name) {
            Found::One(binding) => binding,
            Found::Several(_) => return Err(Reason::Ambiguous(name.to_owned())),
            Found::None => return Ok(None),
        };
        Ok(Some(match binding {
            Binding::Import(alias) if alias.asname.is_some() => self.module_entity(alias.name.as_str()),
            Binding::Import(_) => self.module_entity(name),
            Binding::From(import, alias) => {
                let origin = self.module_entity(&scope.module.origin(import));
                self.member(origin, alias.name.as_str(), depth)?
            }
            Binding::Class(definition) => Entity::Class(Class { module: scope.module, definition }),
            Binding::Function(_) => Entity::Function,
            Binding::Value(value) => Entity::Value(scope, value),
            Binding::Other => return Err(Reason::Ambiguous(name.to_owned())),
        }))
    }

    /// Names that come in through `from m import *`.
    fn starred<'a>(
        &'a self,
        module: &'a Module,
        name: &str,
        depth: usize,
    ) -> Result<Option<Entity<'a>>, Reason> {
        for statement in &module.body {
            if let Stmt::ImportFrom(import) = statement
                && import.names.iter().any(|alias| alias.name.as_str() == "*")
                && let Some(origin) = self.module(&module.origin(import))
                && let Some(entity) = self.bound(Scope::of(origin), &origin.body, name, depth)?
            {
                return Ok(Some(entity));
            }
        }
        Ok(None)
    }

    fn module_entity(&self, name: &str) -> Entity<'_> {
        self.module(name).map_or_else(|| Entity::External(name.to_owned()), Entity::Module)
    }

    fn member<'a>(&'a self, owner: Entity<'a>, name: &str, depth: usize) -> Result<Entity<'a>, Reason> {
        match owner {
            // A directory without `__init__.py` is outside, the files in it may not be.
            Entity::External(outside) => Ok(self.module_entity(&format!("{outside}.{name}"))),
            Entity::Module(module) => {
                if let Some(entity) = self.bound(Scope::of(module), &module.body, name, depth)? {
                    return Ok(entity);
                }
                if let Some(entity) = self.starred(module, name, depth)? {
                    return Ok(entity);
                }
                match self.module_entity(&format!("{}.{name}", module.name)) {
                    Entity::External(unknown) => Err(Reason::UnknownName(unknown)),
                    found => Ok(found),
                }
            }
            Entity::Class(class) => {
                for class in self.ancestry(class) {
                    if let Some(entity) = self.bound(class.scope(), &class.definition.body, name, depth)? {
                        return Ok(entity);
                    }
                }
                Err(Reason::UnknownName(format!("{}.{name}", class.name())))
            }
            Entity::Value(scope, value @ (Expr::Name(_) | Expr::Attribute(_))) => {
                let owner = self.follow(scope, value, depth)?;
                self.member(owner, name, depth)
            }
            Entity::Function | Entity::Value(..) => Err(Reason::NotConstant("an attribute of a value")),
        }
    }
}
