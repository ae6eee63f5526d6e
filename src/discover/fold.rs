//! Finding the values of expressions without running them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{
    Arguments, BoolOp, CmpOp, Expr, ExprCall, ExprFString, FStringPart, InterpolatedStringElement, Number,
    Operator, UnaryOp,
};
use serde_json::Value as Json;

use super::error::Reason;
use super::names::{Entity, Scope};
use super::source::Project;
use super::text;

/// How deep expressions and definitions may be nested.
const DEPTH: usize = 64;

/// A value that is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A path of `pathlib`.
    Path(String),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    Dict(Vec<(Self, Self)>),
}

/// Folds expressions of one project.
pub(super) struct Folder<'p> {
    pub(super) project: &'p Project,
    environment: &'p BTreeMap<String, String>,
    /// The variables that decided something.
    used: RefCell<BTreeSet<String>>,
}

impl Constant {
    /// The value as JSON; keys of maps become text.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::None => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(text) | Self::Path(text) => text.clone().into(),
            Self::List(items) | Self::Tuple(items) => items.iter().map(Self::to_json).collect(),
            Self::Dict(entries) => {
                entries.iter().map(|(key, value)| (text::display(key), value.to_json())).collect()
            }
        }
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Whether Python takes it for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Path(_) => true,
            Self::List(items) | Self::Tuple(items) => !items.is_empty(),
            Self::Dict(entries) => !entries.is_empty(),
        }
    }

    fn as_number(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            #[expect(clippy::cast_precision_loss, reason = "Python compares the same way below 2^53")]
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self.as_number(), other.as_number()) {
            (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
            _ => self == other,
        }
    }
}

impl<'p> Folder<'p> {
    pub(super) fn new(project: &'p Project, environment: &'p BTreeMap<String, String>) -> Self {
        Self { project, environment, used: RefCell::default() }
    }

    /// The environment variables that decided a value so far.
    pub(super) fn used_variables(&self) -> Vec<String> {
        self.used.borrow().iter().cloned().collect()
    }

    /// The value of an expression.
    pub(super) fn fold(&self, scope: Scope<'p>, expression: &Expr) -> Result<Constant, Reason> {
        self.value(scope, expression, DEPTH)
    }

    fn value(&self, scope: Scope<'p>, expression: &Expr, depth: usize) -> Result<Constant, Reason> {
        let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
        let all = |items: &[Expr]| self.values(scope, items, depth);
        match expression {
            Expr::NoneLiteral(_) => Ok(Constant::None),
            Expr::BooleanLiteral(literal) => Ok(Constant::Bool(literal.value)),
            Expr::StringLiteral(literal) => Ok(Constant::Text(literal.value.to_str().to_owned())),
            Expr::NumberLiteral(literal) => number(&literal.value),
            Expr::List(list) => all(&list.elts).map(Constant::List),
            Expr::Tuple(tuple) => all(&tuple.elts).map(Constant::Tuple),
            Expr::Dict(dict) => {
                let entry = |item: &ruff_python_ast::DictItem| {
                    let key = item.key.as_ref().ok_or(Reason::NotConstant("`**` in a dict"))?;
                    Ok((self.value(scope, key, depth)?, self.value(scope, &item.value, depth)?))
                };
                dict.items.iter().map(entry).collect::<Result<_, _>>().map(Constant::Dict)
            }
            Expr::FString(literal) => self.f_string(scope, literal, depth),
            Expr::Name(_) | Expr::Attribute(_) => self.name(scope, expression, depth),
            Expr::If(choice) => {
                let taken = if self.value(scope, &choice.test, depth)?.is_true() {
                    &choice.body
                } else {
                    &choice.orelse
                };
                self.value(scope, taken, depth)
            }
            Expr::BoolOp(operation) => {
                let stops_at = operation.op == BoolOp::Or;
                let mut result = Constant::None;
                for operand in &operation.values {
                    result = self.value(scope, operand, depth)?;
                    if result.is_true() == stops_at {
                        break;
                    }
                }
                Ok(result)
            }
            Expr::UnaryOp(operation) => unary(operation.op, self.value(scope, &operation.operand, depth)?),
            Expr::BinOp(operation) => {
                let left = self.value(scope, &operation.left, depth)?;
                binary(operation.op, left, self.value(scope, &operation.right, depth)?)
            }
            Expr::Compare(comparison) => {
                let left = self.value(scope, &comparison.left, depth)?;
                compare(left, &comparison.ops, all(&comparison.comparators)?)
            }
            Expr::Subscript(subscript) => self.subscript(scope, &subscript.value, &subscript.slice, depth),
            Expr::Call(call) => self.call(scope, call, depth),
            _ => Err(Reason::NotConstant("this expression")),
        }
    }

    fn values(&self, scope: Scope<'p>, items: &[Expr], depth: usize) -> Result<Vec<Constant>, Reason> {
        items.iter().map(|item| self.value(scope, item, depth)).collect()
    }

    fn name(&self, scope: Scope<'p>, expression: &Expr, depth: usize) -> Result<Constant, Reason> {
        match self.project.resolve(scope, expression)? {
            Entity::Value(scope, value) => self.value(scope, value, depth),
            Entity::External(name) => {
                Err(Reason::UnknownName(name.trim_start_matches("builtins.").to_owned()))
            }
            Entity::Module(_) | Entity::Class(_) | Entity::Function => {
                Err(Reason::NotConstant("a module, class or function"))
            }
        }
    }

    fn f_string(&self, scope: Scope<'p>, literal: &ExprFString, depth: usize) -> Result<Constant, Reason> {
        let mut whole = String::new();
        for part in &literal.value {
            let string = match part {
                FStringPart::Literal(literal) => {
                    whole.push_str(&literal.value);
                    continue;
                }
                FStringPart::FString(string) => string,
            };
            for element in &string.elements {
                match element {
                    InterpolatedStringElement::Literal(literal) => whole.push_str(&literal.value),
                    InterpolatedStringElement::Interpolation(inner) => {
                        if inner.format_spec.is_some() || inner.debug_text.is_some() {
                            return Err(Reason::NotConstant("a format specification"));
                        }
                        whole.push_str(&text::display(&self.value(scope, &inner.expression, depth)?));
                    }
                }
            }
        }
        Ok(Constant::Text(whole))
    }

    fn subscript(
        &self,
        scope: Scope<'p>,
        owner: &Expr,
        index: &Expr,
        depth: usize,
    ) -> Result<Constant, Reason> {
        let key = self.value(scope, index, depth)?;
        if self.project.external_name(scope, owner).as_deref() == Some("os.environ") {
            let name = key.as_text().ok_or(Reason::Fails("a lookup"))?;
            return self
                .variable(name)
                .map(Constant::Text)
                .ok_or_else(|| Reason::UnsetVariable(name.to_owned()));
        }
        match (self.value(scope, owner, depth)?, key) {
            (Constant::Dict(entries), key) => {
                let found = entries.into_iter().find(|(known, _)| known.equals(&key));
                found.map(|(_, value)| value).ok_or(Reason::Fails("a lookup"))
            }
            (Constant::List(items) | Constant::Tuple(items), Constant::Int(index)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if index < 0 { index + length } else { index };
                let found = usize::try_from(index).ok().and_then(|index| items.get(index).cloned());
                found.ok_or(Reason::Fails("a lookup"))
            }
            _ => Err(Reason::Fails("a lookup")),
        }
    }

    fn call(&self, scope: Scope<'p>, call: &ExprCall, depth: usize) -> Result<Constant, Reason> {
        let arguments = &call.arguments;
        if let Some(name) = self.project.external_name(scope, &call.func) {
            match name.as_str() {
                "os.getenv" | "os.environ.get" => return self.getenv(scope, arguments, depth),
                "builtins.str" | "os.fspath" => {
                    return self
                        .single(scope, arguments, depth)
                        .map(|value| Constant::Text(text::display(&value)));
                }
                "builtins.int" | "builtins.float" | "builtins.bool" => {
                    return convert(&name, self.single(scope, arguments, depth)?);
                }
                "builtins.dict" if arguments.args.is_empty() => {
                    return self.keywords(scope, arguments, depth);
                }
                "builtins.list" => match self.single(scope, arguments, depth)? {
                    Constant::List(items) | Constant::Tuple(items) => return Ok(Constant::List(items)),
                    _ => return Err(Reason::Fails("a conversion")),
                },
                "pathlib.Path" | "pathlib.PurePath" | "pathlib.PurePosixPath" | "os.path.join" => {
                    let parts = self.values(scope, &arguments.args, depth)?;
                    let joined = parts
                        .iter()
                        .fold(String::new(), |path, part| text::join(&path, &text::display(part)));
                    let is_text = name == "os.path.join";
                    return Ok(if is_text { Constant::Text(joined) } else { Constant::Path(joined) });
                }
                _ => {}
            }
        }
        if let Expr::Attribute(method) = &*call.func {
            let owner = self.value(scope, &method.value, depth);
            if let Ok(Constant::Text(owner)) = owner {
                let positional = self.values(scope, &arguments.args, depth)?;
                let Constant::Dict(named) = self.keywords(scope, arguments, depth)? else {
                    return Err(Reason::Fails("a call"));
                };
                let done = text::method(&owner, method.attr.as_str(), &positional, &named);
                return done.ok_or_else(|| Reason::Call(format!("str.{}", method.attr)));
            }
        }
        Err(Reason::Call(scope.module.text(&*call.func).to_owned()))
    }

    fn getenv(&self, scope: Scope<'p>, arguments: &Arguments, depth: usize) -> Result<Constant, Reason> {
        let name = arguments.find_argument_value("key", 0).ok_or(Reason::Fails("a call"))?;
        let name = self.value(scope, name, depth)?;
        let name = name.as_text().ok_or(Reason::Fails("a call"))?;
        if let Some(value) = self.variable(name) {
            return Ok(Constant::Text(value));
        }
        match arguments.find_argument_value("default", 1) {
            Some(default) => self.value(scope, default, depth),
            None => Err(Reason::UnsetVariable(name.to_owned())),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment.get(name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(value.clone())
    }

    fn single(&self, scope: Scope<'p>, arguments: &Arguments, depth: usize) -> Result<Constant, Reason> {
        match (&*arguments.args, &*arguments.keywords) {
            ([only], []) => self.value(scope, only, depth),
            _ => Err(Reason::Fails("a call")),
        }
    }

    fn keywords(&self, scope: Scope<'p>, arguments: &Arguments, depth: usize) -> Result<Constant, Reason> {
        let entry = |keyword: &ruff_python_ast::Keyword| {
            let name = keyword.arg.as_ref().ok_or(Reason::NotConstant("`**` in a call"))?;
            Ok((Constant::Text(name.as_str().to_owned()), self.value(scope, &keyword.value, depth)?))
        };
        arguments.keywords.iter().map(entry).collect::<Result<_, _>>().map(Constant::Dict)
    }
}

fn number(number: &Number) -> Result<Constant, Reason> {
    match number {
        Number::Int(value) => {
            value.as_i64().map(Constant::Int).ok_or(Reason::NotConstant("so large a number"))
        }
        Number::Float(value) => Ok(Constant::Float(*value)),
        Number::Complex { .. } => Err(Reason::NotConstant("a complex number")),
    }
}

fn unary(operator: UnaryOp, operand: Constant) -> Result<Constant, Reason> {
    match (operator, operand) {
        (UnaryOp::Not, value) => Ok(Constant::Bool(!value.is_true())),
        (UnaryOp::USub, Constant::Int(value)) => {
            value.checked_neg().map(Constant::Int).ok_or(Reason::Fails("arithmetic"))
        }
        (UnaryOp::USub, Constant::Float(value)) => Ok(Constant::Float(-value)),
        (UnaryOp::UAdd, value @ (Constant::Int(_) | Constant::Float(_))) => Ok(value),
        _ => Err(Reason::Fails("arithmetic")),
    }
}

fn binary(operator: Operator, left: Constant, right: Constant) -> Result<Constant, Reason> {
    use Constant::{Float, Int, List, Path, Text, Tuple};
    let fails = Reason::Fails("arithmetic");
    match (operator, left, right) {
        (Operator::Add, Text(a), Text(b)) => Ok(Text(a + &b)),
        (Operator::Add, List(a), List(b)) => Ok(List([a, b].concat())),
        (Operator::Add, Tuple(a), Tuple(b)) => Ok(Tuple([a, b].concat())),
        (Operator::Div, Path(a), Text(b) | Path(b)) => Ok(Path(text::join(&a, &b))),
        (Operator::Mod, Text(format), value) => text::percent(&format, &value).map(Text).ok_or(fails),
        (operator, Int(a), Int(b)) => match operator {
            Operator::Add => a.checked_add(b).map(Int).ok_or(fails),
            Operator::Sub => a.checked_sub(b).map(Int).ok_or(fails),
            Operator::Mult => a.checked_mul(b).map(Int).ok_or(fails),
            Operator::FloorDiv if b > 0 => Ok(Int(a.div_euclid(b))),
            Operator::Mod if b > 0 => Ok(Int(a.rem_euclid(b))),
            Operator::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)).map(Int).ok_or(fails),
            Operator::Div if b != 0 => arithmetic(operator, &Int(a), &Int(b)).ok_or(fails),
            _ => Err(fails),
        },
        (operator, a, b) => arithmetic(operator, &a, &b)
            .map(|value| match value {
                Float(value) => Float(value),
                other => other,
            })
            .ok_or(fails),
    }
}

fn arithmetic(operator: Operator, left: &Constant, right: &Constant) -> Option<Constant> {
    let (a, b) = (left.as_number()?, right.as_number()?);
    let result = match operator {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mult => a * b,
        Operator::Div if b != 0.0 => a / b,
        _ => return None,
    };
    Some(Constant::Float(result))
}

fn compare(left: Constant, operators: &[CmpOp], others: Vec<Constant>) -> Result<Constant, Reason> {
    let mut left = left;
    for (operator, right) in operators.iter().zip(others) {
        let holds = match operator {
            CmpOp::Eq | CmpOp::Is => left.equals(&right),
            CmpOp::NotEq | CmpOp::IsNot => !left.equals(&right),
            CmpOp::In => contains(&right, &left).ok_or(Reason::Fails("a comparison"))?,
            CmpOp::NotIn => !contains(&right, &left).ok_or(Reason::Fails("a comparison"))?,
            CmpOp::Lt | CmpOp::LtE | CmpOp::Gt | CmpOp::GtE => {
                let order = match (left.as_number(), right.as_number()) {
                    (Some(a), Some(b)) => a.partial_cmp(&b),
                    _ => left.as_text().zip(right.as_text()).map(|(a, b)| a.cmp(b)),
                };
                let order = order.ok_or(Reason::Fails("a comparison"))?;
                match operator {
                    CmpOp::Lt => order.is_lt(),
                    CmpOp::LtE => order.is_le(),
                    CmpOp::Gt => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
        };
        if !holds {
            return Ok(Constant::Bool(false));
        }
        left = right;
    }
    Ok(Constant::Bool(true))
}

fn contains(container: &Constant, item: &Constant) -> Option<bool> {
    match container {
        Constant::Text(text) => Some(text.contains(item.as_text()?)),
        Constant::List(items) | Constant::Tuple(items) => Some(items.iter().any(|known| known.equals(item))),
        Constant::Dict(entries) => Some(entries.iter().any(|(key, _)| key.equals(item))),
        _ => None,
    }
}

fn convert(name: &str, value: Constant) -> Result<Constant, Reason> {
    let converted = match (name, value) {
        ("builtins.bool", value) => Some(Constant::Bool(value.is_true())),
        ("builtins.int", Constant::Text(text)) => text.trim().parse().ok().map(Constant::Int),
        ("builtins.int", Constant::Bool(value)) => Some(Constant::Int(value.into())),
        ("builtins.float", Constant::Text(text)) => text.trim().parse().ok().map(Constant::Float),
        ("builtins.float", value @ Constant::Int(_)) => value.as_number().map(Constant::Float),
        ("builtins.int", value @ Constant::Int(_)) | ("builtins.float", value @ Constant::Float(_)) => {
            Some(value)
        }
        _ => None,
    };
    converted.ok_or(Reason::Fails("a conversion"))
}
