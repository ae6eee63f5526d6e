//! Static descriptions of types: what an annotation accepts, as JSON schema.
//!
//! The form is that of the original's `schema.json` (validation mode of pydantic, references
//! inlined, unions reduced to their first member). An annotation that cannot be understood without
//! running code accepts anything: `{}`.

use ruff_python_ast::{Expr, ExprCall, ExprSubscript, Operator, Parameters, Stmt};
use serde_json::{Map, Value as Json, json};

use super::fold::{Constant, Folder};
use super::names::{Class, Entity, Scope};
use super::source::names;

/// How deep types may be nested; beyond that anything is accepted.
const DEPTH: usize = 24;

/// Where definitions are referred to before they are inlined.
const REFERENCE: &str = "#/$defs/";

/// Describes the types of one method.
pub(super) struct Describer<'f, 'p> {
    folder: &'f Folder<'p>,
    definitions: Map<String, Json>,
}

/// A part of `Annotated[…]`, and where it stands.
#[derive(Clone)]
struct Note<'p> {
    scope: Scope<'p>,
    call: ExprCall,
}

/// The description of what a method returns.
pub(super) struct Output {
    pub(super) schema: Json,
    pub(super) media_type: Option<String>,
}

impl<'f, 'p> Describer<'f, 'p> {
    pub(super) fn new(folder: &'f Folder<'p>) -> Self {
        Self { folder, definitions: Map::new() }
    }

    /// Describes the parameters of a method, `self` and the context left out.
    pub(super) fn input(mut self, scope: Scope<'p>, parameters: &Parameters) -> Json {
        let positional_only = parameters.posonlyargs.iter();
        let ordinary = parameters.posonlyargs.iter().chain(&parameters.args).skip(1);
        if let Some(root) = positional_only.skip(1).last() {
            let mut schema = root
                .parameter
                .annotation
                .as_deref()
                .map_or_else(|| json!({}), |annotation| self.root(scope, annotation));
            if let Some(map) = schema.as_object_mut() {
                map.insert("root_input".to_owned(), true.into());
            }
            return self.inlined(schema);
        }
        let mut fields = Vec::new();
        for parameter in ordinary.chain(&parameters.kwonlyargs) {
            let name = parameter.parameter.name.as_str();
            let annotation = parameter.parameter.annotation.as_deref();
            if is_context(self.folder, scope, name, annotation) {
                continue;
            }
            fields.push(self.field(scope, name, annotation, parameter.default.as_deref()));
        }
        for (variadic, is_map) in [(&parameters.vararg, false), (&parameters.kwarg, true)] {
            if let Some(variadic) = variadic {
                fields.push(self.variadic(scope, variadic, is_map));
            }
        }
        let schema = object("Input", fields);
        self.inlined(schema)
    }

    /// Describes what a method returns.
    pub(super) fn output(mut self, scope: Scope<'p>, returns: Option<&Expr>) -> Output {
        let Some(annotation) = returns else { return Output { schema: json!({}), media_type: None } };
        let annotation = unquoted(annotation);
        let mut media_type = None;
        let mut inner = None;
        if let Expr::Subscript(generic) = &annotation {
            match self.external(scope, &generic.value).as_deref() {
                Some(name) if is_iterator(name) => inner = arguments(generic).first().cloned(),
                Some("typing.Annotated" | "typing_extensions.Annotated") => {
                    media_type = self
                        .notes(scope, &arguments(generic))
                        .iter()
                        .find_map(|note| self.content_type(note));
                }
                _ => {}
            }
        }
        let schema = self.root(scope, &inner.unwrap_or(annotation));
        Output { schema: self.inlined(schema), media_type }
    }

    /// Describes a class given as `input_spec` or `output_spec`.
    pub(super) fn class(mut self, scope: Scope<'p>, class: &Expr) -> Json {
        let schema = self.root(scope, class);
        self.inlined(schema)
    }

    /// A type on its own; a model gets the name of the class that wraps it.
    fn root(&mut self, scope: Scope<'p>, annotation: &Expr) -> Json {
        let annotation = unquoted(annotation);
        if let Some(Entity::Class(class)) = self.folder.project.settle(scope, &annotation)
            && is_model(self.folder, class)
        {
            let mut schema = self.model(class, DEPTH);
            let is_wrapped = !self.folder.project.external_bases(class).iter().any(|base| is_io_base(base));
            if let Some(map) = schema.as_object_mut().filter(|_| is_wrapped) {
                map.remove("description");
                map.insert("title".to_owned(), format!("{}IODescriptor", class.name()).into());
            }
            return schema;
        }
        self.described(scope, &annotation, &[], DEPTH)
    }

    fn variadic(&mut self, scope: Scope<'p>, parameter: &ruff_python_ast::Parameter, is_map: bool) -> Field {
        let name = parameter.name.as_str();
        let annotation = parameter.annotation.as_deref();
        let mut schema = if is_map {
            json!({"additionalProperties": true, "type": "object"})
        } else {
            let item = annotation.map_or_else(|| json!({}), |item| self.described(scope, item, &[], DEPTH));
            json!({"items": item, "type": "array"})
        };
        set(&mut schema, "title", title(if is_map { "kwargs" } else { "args" }).into());
        let _ = name;
        Field { name: if is_map { "kwargs" } else { "args" }.to_owned(), schema, is_required: true }
    }

    /// A parameter or an attribute of a model.
    fn field(
        &mut self,
        scope: Scope<'p>,
        name: &str,
        annotation: Option<&Expr>,
        default: Option<&Expr>,
    ) -> Field {
        let (base, mut notes) = self.split(scope, annotation.map(unquoted));
        let default_call = default.and_then(|default| self.field_call(scope, default));
        notes.extend(default_call.clone());
        let mut schema = base.map_or_else(|| json!({}), |base| self.described(scope, &base, &notes, DEPTH));
        let mut field = Field {
            name: name.to_owned(),
            schema: Json::Null,
            is_required: default.is_none() || default_call.is_some(),
        };
        if has_title(&schema) {
            set(&mut schema, "title", title(name).into());
        }
        for note in &notes {
            self.apply_field(note, &mut schema, &mut field);
        }
        if let Some(default) = default.filter(|_| default_call.is_none())
            && let Ok(value) = self.folder.fold(scope, default)
        {
            set(&mut schema, "default", value.to_json());
        }
        field.schema = sorted(schema);
        field
    }

    /// Splits `Annotated[T, …]` into `T` and its notes.
    fn split(&self, scope: Scope<'p>, annotation: Option<Expr>) -> (Option<Expr>, Vec<Note<'p>>) {
        if let Some(Expr::Subscript(generic)) = &annotation
            && let Some("typing.Annotated" | "typing_extensions.Annotated") =
                self.external(scope, &generic.value).as_deref()
        {
            let parts = arguments(generic);
            return (parts.first().cloned().map(|base| unquoted(&base)), self.notes(scope, &parts));
        }
        (annotation, Vec::new())
    }

    fn notes(&self, scope: Scope<'p>, parts: &[Expr]) -> Vec<Note<'p>> {
        let calls = parts.iter().skip(1).filter_map(|part| match part {
            Expr::Call(call) => Some(Note { scope, call: call.clone() }),
            // A name may stand for a call.
            other => match self.folder.project.settle(scope, other) {
                Some(Entity::Value(scope, Expr::Call(call))) => Some(Note { scope, call: call.clone() }),
                _ => None,
            },
        });
        calls.collect()
    }

    /// `Field(…)` as a default.
    fn field_call(&self, scope: Scope<'p>, default: &Expr) -> Option<Note<'p>> {
        let Expr::Call(call) = default else { return None };
        let name = self.external(scope, &call.func)?;
        matches!(name.as_str(), "pydantic.Field" | "pydantic.fields.Field" | "bentoml.Field")
            .then(|| Note { scope, call: call.clone() })
    }

    /// Applies what `Field(…)` says about a field.
    fn apply_field(&self, note: &Note<'p>, schema: &mut Json, field: &mut Field) {
        if !self.external(note.scope, &note.call.func).is_some_and(|name| name.ends_with(".Field")) {
            return;
        }
        let fold = |value: &Expr| self.folder.fold(note.scope, value);
        let arguments = &note.call.arguments;
        if let Some(default) = arguments.find_argument_value("default", 0)
            && !matches!(default, Expr::EllipsisLiteral(_))
        {
            field.is_required = false;
            if let Ok(value) = fold(default) {
                set(schema, "default", value.to_json());
            }
        }
        if arguments.find_keyword("default_factory").is_some() {
            field.is_required = false;
        }
        for key in ["title", "description", "examples"] {
            if let Some(keyword) = arguments.find_keyword(key)
                && let Ok(value) = fold(&keyword.value)
            {
                set(schema, key, value.to_json());
            }
        }
        if let Some(keyword) = arguments.find_keyword("alias")
            && let Ok(Constant::Text(alias)) = fold(&keyword.value)
        {
            field.name = alias;
        }
    }

    /// Describes a type, without its title.
    fn described(&mut self, scope: Scope<'p>, annotation: &Expr, notes: &[Note<'p>], depth: usize) -> Json {
        let Some(depth) = depth.checked_sub(1) else { return json!({}) };
        let (base, own) = self.split(scope, Some(unquoted(annotation)));
        let Some(base) = base else { return json!({}) };
        let notes: Vec<Note<'p>> = own.into_iter().chain(notes.iter().cloned()).collect();
        match &base {
            Expr::NoneLiteral(_) => json!({"type": "null"}),
            Expr::Name(_) | Expr::Attribute(_) => match self.folder.project.settle(scope, &base) {
                Some(Entity::External(name)) => self.constrained(simple(&name), &name, &notes),
                Some(Entity::Class(class)) => self.defined(class, depth),
                Some(Entity::Value(scope, alias)) => self.described(scope, alias, &notes, depth),
                _ => json!({}),
            },
            Expr::BinOp(union) if union.op == Operator::BitOr => {
                let mut members = Vec::new();
                flatten_union(&base, &mut members);
                self.union(scope, &members, &notes, depth)
            }
            Expr::Subscript(generic) => self.generic(scope, generic, &notes, depth),
            _ => json!({}),
        }
    }

    fn generic(
        &mut self,
        scope: Scope<'p>,
        generic: &ExprSubscript,
        notes: &[Note<'p>],
        depth: usize,
    ) -> Json {
        let Some(name) = self.external(scope, &generic.value) else { return json!({}) };
        let parts = arguments(generic);
        let mut part = |index: usize| {
            parts.get(index).map_or_else(|| json!({}), |part| self.described(scope, part, &[], depth))
        };
        let short = name.rsplit('.').next().unwrap_or(&name).to_owned();
        let schema = match short.as_str() {
            "Optional" => return self.union(scope, &[parts[0].clone(), none()], notes, depth),
            "Union" => return self.union(scope, &parts, notes, depth),
            "Literal" => return self.literal(scope, generic),
            "list" | "List" | "Sequence" | "MutableSequence" | "Iterable" | "Collection" | "deque" => {
                json!({"items": part(0), "type": "array"})
            }
            "set" | "Set" | "frozenset" | "FrozenSet" => {
                json!({"items": part(0), "type": "array", "uniqueItems": true})
            }
            "dict" | "Dict" | "Mapping" | "MutableMapping" | "defaultdict" => {
                let value = part(1);
                let value = if value == json!({}) { Json::Bool(true) } else { value };
                json!({"additionalProperties": value, "type": "object"})
            }
            "tuple" | "Tuple" => {
                if let Some(Expr::EllipsisLiteral(_)) = parts.last() {
                    json!({"items": part(0), "type": "array"})
                } else {
                    let items: Vec<Json> = (0..parts.len()).map(&mut part).collect();
                    json!({"maxItems": items.len(), "minItems": items.len(), "prefixItems": items, "type": "array"})
                }
            }
            "ndarray" | "NDArray" => return self.array(scope, &short, &parts, notes),
            "Required" | "NotRequired" | "Final" => return part(0),
            _ => return json!({}),
        };
        self.constrained(schema, &name, notes)
    }

    fn union(&mut self, scope: Scope<'p>, members: &[Expr], notes: &[Note<'p>], depth: usize) -> Json {
        let mut described = Vec::new();
        for member in members {
            let is_none = matches!(member, Expr::NoneLiteral(_));
            let schema = self.described(scope, member, if is_none { &[] } else { notes }, depth);
            match schema.get("anyOf").and_then(Json::as_array) {
                Some(inner) => described.extend(inner.clone()),
                None => described.push(schema),
            }
        }
        match described.len() {
            1 => described.remove(0),
            _ => json!({"anyOf": described}),
        }
    }

    fn literal(&self, scope: Scope<'p>, generic: &ExprSubscript) -> Json {
        // Text in here is a value, not a type in quotes.
        let parts = match &*generic.slice {
            Expr::Tuple(tuple) => &tuple.elts[..],
            single => std::slice::from_ref(single),
        };
        let values: Result<Vec<_>, _> = parts.iter().map(|part| self.folder.fold(scope, part)).collect();
        values.map_or_else(|_| json!({}), |values| one_of(&values))
    }

    /// A numpy array with what its notes and type arguments say.
    fn array(&self, scope: Scope<'p>, short: &str, parts: &[Expr], notes: &[Note<'p>]) -> Json {
        let kind = match (short, parts.get(1)) {
            ("NDArray", _) => parts.first().cloned(),
            (_, Some(Expr::Subscript(kind))) => arguments(kind).first().cloned(),
            _ => None,
        };
        let mut schema = self.constrained(simple("numpy.ndarray"), "numpy.ndarray", notes);
        if let Some(name) = kind.and_then(|kind| self.external(scope, &kind))
            && let Some(kind) = name.strip_prefix("numpy.")
        {
            set(&mut schema, "dtype", kind.trim_end_matches('_').into());
        }
        sorted(schema)
    }

    /// A class of the project: a model or an enumeration, by reference.
    fn defined(&mut self, class: Class<'p>, depth: usize) -> Json {
        let bases = self.folder.project.external_bases(class);
        let is_enum = bases.iter().any(|base| base.starts_with("enum.") && base.ends_with("Enum"));
        if !is_enum && !is_model(self.folder, class) {
            return json!({});
        }
        let name = class.name().to_owned();
        if !self.definitions.contains_key(&name) {
            // A model may refer to itself.
            self.definitions.insert(name.clone(), json!({}));
            let schema = if is_enum { self.enumeration(class) } else { self.model(class, depth) };
            self.definitions.insert(name.clone(), schema);
        }
        json!({"$ref": format!("{REFERENCE}{name}")})
    }

    fn enumeration(&self, class: Class<'p>) -> Json {
        let body = &class.definition.body;
        let members = body.iter().filter_map(|statement| match statement {
            Stmt::Assign(assign) => self.folder.fold(class.scope(), &assign.value).ok(),
            _ => None,
        });
        let members: Vec<Constant> = members.collect();
        let mut schema = one_of(&members);
        set(&mut schema, "title", class.name().into());
        if let Some(doc) = super::api::doc(body) {
            set(&mut schema, "description", doc.into());
        }
        sorted(schema)
    }

    fn model(&mut self, class: Class<'p>, depth: usize) -> Json {
        let mut fields: Vec<Field> = Vec::new();
        let mut known: Vec<String> = Vec::new();
        for ancestor in self.folder.project.ancestry(class).into_iter().rev() {
            for name in names(&ancestor.definition.body) {
                let Some(field) = self.model_field(ancestor, name, depth) else { continue };
                if let Some(at) = known.iter().position(|known| known == name) {
                    fields[at] = field;
                } else {
                    known.push(name.to_owned());
                    fields.push(field);
                }
            }
        }
        let mut schema = object(class.name(), fields);
        if let Some(doc) = super::api::doc(&class.definition.body) {
            set(&mut schema, "description", doc.into());
        }
        sorted(schema)
    }

    fn model_field(&mut self, class: Class<'p>, name: &str, depth: usize) -> Option<Field> {
        if name.starts_with('_') || depth == 0 {
            return None;
        }
        let declared = class.definition.body.iter().find_map(|statement| match statement {
            Stmt::AnnAssign(assign) => match &*assign.target {
                Expr::Name(target) if target.id.as_str() == name => Some(assign),
                _ => None,
            },
            _ => None,
        })?;
        if let Expr::Subscript(generic) = &*declared.annotation
            && self.external(class.scope(), &generic.value).is_some_and(|name| name.ends_with(".ClassVar"))
        {
            return None;
        }
        Some(self.field(Scope::of(class.module), name, Some(&declared.annotation), declared.value.as_deref()))
    }

    /// Adds limits and details from the notes to a type.
    fn constrained(&self, mut schema: Json, name: &str, notes: &[Note<'p>]) -> Json {
        for note in notes {
            let Some(call) = self.external(note.scope, &note.call.func) else { continue };
            let arguments = &note.call.arguments;
            let first = |key| {
                let value = arguments.find_argument_value(key, 0)?;
                self.folder.fold(note.scope, value).ok()
            };
            match call.rsplit('.').next().unwrap_or_default() {
                "Shape" => {
                    let Some(shape @ (Constant::Tuple(_) | Constant::List(_))) = first("dimensions") else {
                        continue;
                    };
                    let shape = shape.to_json();
                    let sizes = shape.as_array().into_iter().flatten().filter_map(Json::as_i64);
                    set(&mut schema, "dim", sizes.product::<i64>().into());
                    set(&mut schema, "shape", shape);
                }
                "DType" => {
                    if let Some(Constant::Text(kind)) = first("dtype") {
                        set(&mut schema, "dtype", kind.into());
                    }
                }
                "DataframeSchema" => {
                    if let Some(orient) = first("orient") {
                        set(&mut schema, "orient", orient.to_json());
                    }
                    if let Some(columns) = arguments.find_argument_value("columns", 1)
                        && let Ok(columns) = self.folder.fold(note.scope, columns)
                    {
                        set(&mut schema, "columns", columns.to_json());
                    }
                }
                "ContentType" if name.starts_with("pathlib.") => {
                    if let Some(Constant::Text(kind)) = first("content_type") {
                        set(&mut schema, "format", kind.split('/').next().unwrap_or_default().into());
                        set(&mut schema, "content_type", kind.into());
                    }
                }
                limit => self.limit(limit, note, &mut schema),
            }
        }
        sorted(schema)
    }

    /// Limits: keywords of `Field(…)`, or the classes of `annotated_types`.
    fn limit(&self, call: &str, note: &Note<'p>, schema: &mut Json) {
        let is_list = schema.get("type").and_then(Json::as_str) == Some("array");
        let target = |key: &str| {
            Some(match key {
                "ge" => "minimum",
                "gt" => "exclusiveMinimum",
                "le" => "maximum",
                "lt" => "exclusiveMaximum",
                "multiple_of" => "multipleOf",
                "min_length" if is_list => "minItems",
                "max_length" if is_list => "maxItems",
                "min_length" => "minLength",
                "max_length" => "maxLength",
                "pattern" => "pattern",
                _ => return None,
            })
        };
        let keywords = note
            .call
            .arguments
            .keywords
            .iter()
            .filter_map(|keyword| Some((keyword.arg.as_ref()?.as_str().to_owned(), &keyword.value)));
        let positional = note.call.arguments.args.first().map(|value| {
            let key = match call {
                "MinLen" => "min_length".to_owned(),
                "MaxLen" => "max_length".to_owned(),
                other => other.to_lowercase(),
            };
            (key, value)
        });
        for (key, value) in keywords.chain(positional.filter(|_| call != "Field")) {
            if let Some(target) = target(&key)
                && let Ok(value) = self.folder.fold(note.scope, value)
                && value != Constant::None
            {
                set(schema, target, value.to_json());
            }
        }
    }

    fn content_type(&self, note: &Note<'p>) -> Option<String> {
        let name = self.external(note.scope, &note.call.func)?;
        let value = note.call.arguments.find_argument_value("content_type", 0)?;
        match self.folder.fold(note.scope, value) {
            Ok(Constant::Text(kind)) if name.ends_with(".ContentType") => Some(kind),
            _ => None,
        }
    }

    fn external(&self, scope: Scope<'p>, expression: &Expr) -> Option<String> {
        self.folder.project.external_name(scope, expression)
    }

    /// Puts definitions in the place of references, as far as the original does.
    fn inlined(&self, mut schema: Json) -> Json {
        let has_properties = schema
            .get("properties")
            .and_then(Json::as_object)
            .is_some_and(|properties| !properties.is_empty());
        if has_properties {
            return inline(schema, &self.definitions, DEPTH);
        }
        if !self.definitions.is_empty() && schema.is_object() && mentions_reference(&schema) {
            set(&mut schema, "$defs", Json::Object(self.definitions.clone()));
        }
        schema
    }
}

/// A described parameter or attribute.
struct Field {
    name: String,
    schema: Json,
    is_required: bool,
}

fn object(name: &str, fields: Vec<Field>) -> Json {
    let required: Vec<Json> =
        fields.iter().filter(|field| field.is_required).map(|field| field.name.clone().into()).collect();
    let properties: Map<String, Json> = fields.into_iter().map(|field| (field.name, field.schema)).collect();
    let mut schema = json!({"properties": properties});
    if !required.is_empty() {
        set(&mut schema, "required", required.into());
    }
    set(&mut schema, "title", name.into());
    set(&mut schema, "type", "object".into());
    schema
}

fn inline(schema: Json, definitions: &Map<String, Json>, depth: usize) -> Json {
    let (Json::Object(mut map), Some(depth)) = (schema, depth.checked_sub(1)) else { return json!({}) };
    for key in ["allOf", "anyOf"] {
        if let Some(Json::Array(members)) = map.shift_remove(key)
            && let Some(Json::Object(first)) = members.into_iter().next()
        {
            map.extend(first);
        }
    }
    if let Some(Json::String(reference)) = map.shift_remove("$ref") {
        let name = reference.strip_prefix(REFERENCE).unwrap_or(&reference);
        let definition = definitions.get(name).cloned().unwrap_or_else(|| json!({}));
        if let Json::Object(definition) = inline(definition, definitions, depth) {
            map.extend(definition);
        }
    } else if let Some(Json::Object(properties)) = map.get_mut("properties") {
        for property in properties.values_mut() {
            *property = inline(property.take(), definitions, depth);
        }
    } else if map.get("type").and_then(Json::as_str) == Some("array")
        && let Some(items) = map.get_mut("items")
    {
        *items = inline(items.take(), definitions, depth);
    }
    Json::Object(map)
}

fn mentions_reference(schema: &Json) -> bool {
    match schema {
        Json::Object(map) => map.contains_key("$ref") || map.values().any(mentions_reference),
        Json::Array(items) => items.iter().any(mentions_reference),
        _ => false,
    }
}

/// Types that need no arguments.
fn simple(name: &str) -> Json {
    match name {
        "builtins.str" => json!({"type": "string"}),
        "builtins.int" => json!({"type": "integer"}),
        "builtins.float" => json!({"type": "number"}),
        "builtins.bool" => json!({"type": "boolean"}),
        "builtins.bytes" => json!({"format": "binary", "type": "string"}),
        "builtins.list" | "typing.List" | "typing.Sequence" | "builtins.tuple" | "typing.Tuple" => {
            json!({"items": {}, "type": "array"})
        }
        "builtins.set" | "typing.Set" | "builtins.frozenset" => {
            json!({"items": {}, "type": "array", "uniqueItems": true})
        }
        "builtins.dict" | "typing.Dict" | "typing.Mapping" => {
            json!({"additionalProperties": true, "type": "object"})
        }
        "datetime.datetime" => json!({"format": "date-time", "type": "string"}),
        "datetime.date" => json!({"format": "date", "type": "string"}),
        "datetime.time" => json!({"format": "time", "type": "string"}),
        "datetime.timedelta" => json!({"format": "duration", "type": "string"}),
        "uuid.UUID" => json!({"format": "uuid", "type": "string"}),
        "numpy.ndarray" | "numpy.typing.NDArray" => json!({"format": "numpy-array", "type": "tensor"}),
        "torch.Tensor" => json!({"format": "torch-tensor", "type": "tensor"}),
        "tensorflow.Tensor" => json!({"format": "tf-tensor", "type": "tensor"}),
        "pandas.DataFrame" => json!({"orient": "records", "type": "dataframe"}),
        "PIL.Image.Image" => json!({"format": "image", "pil": true, "type": "file"}),
        "pathlib.Path" | "pathlib.PurePath" | "pathlib.PosixPath" | "pathlib.PurePosixPath" => {
            json!({"format": "binary", "type": "file"})
        }
        _ => json!({}),
    }
}

/// The members of a `Literal` or an enumeration.
fn one_of(values: &[Constant]) -> Json {
    let kind = |value: &Constant| match value {
        Constant::Text(_) => Some("string"),
        Constant::Int(_) => Some("integer"),
        Constant::Float(_) => Some("number"),
        Constant::Bool(_) => Some("boolean"),
        _ => None,
    };
    let mut schema = match values {
        [only] => json!({"const": only.to_json()}),
        _ => json!({"enum": values.iter().map(Constant::to_json).collect::<Vec<_>>()}),
    };
    if let Some(first) = values.first().and_then(kind)
        && values.iter().all(|value| kind(value) == Some(first))
    {
        set(&mut schema, "type", first.into());
    }
    schema
}

/// Whether a field gets a title from its name: references and optional references do not.
fn has_title(schema: &Json) -> bool {
    if schema.get("$ref").is_some() {
        return false;
    }
    let null = json!({"type": "null"});
    match schema.get("anyOf").and_then(Json::as_array).map(Vec::as_slice) {
        Some([inner, other]) if *other == null => has_title(inner),
        _ => true,
    }
}

/// `max_len` becomes `Max Len`.
fn title(name: &str) -> String {
    let mut starts_word = true;
    let capitalised = name.chars().map(|ch| {
        let shown = if starts_word { ch.to_ascii_uppercase() } else { ch.to_ascii_lowercase() };
        starts_word = !ch.is_alphabetic();
        if shown == '_' { ' ' } else { shown }
    });
    capitalised.collect::<String>().trim().to_owned()
}

fn set(schema: &mut Json, key: &str, value: Json) {
    if let Some(map) = schema.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// Sorts the keywords of one schema, as pydantic does.
fn sorted(schema: Json) -> Json {
    match schema {
        Json::Object(mut map) => {
            map.sort_keys();
            Json::Object(map)
        }
        other => other,
    }
}

/// An annotation in quotes is parsed; one that cannot be stays as it is.
fn unquoted(annotation: &Expr) -> Expr {
    if let Expr::StringLiteral(literal) = annotation
        && let Ok(parsed) = ruff_python_parser::parse_expression(literal.value.to_str())
    {
        return parsed.into_expr();
    }
    annotation.clone()
}

/// The type arguments of `X[…]`.
fn arguments(generic: &ExprSubscript) -> Vec<Expr> {
    match &*generic.slice {
        Expr::Tuple(tuple) => tuple.elts.iter().map(unquoted).collect(),
        single => vec![unquoted(single)],
    }
}

fn flatten_union(expression: &Expr, members: &mut Vec<Expr>) {
    match expression {
        Expr::BinOp(union) if union.op == Operator::BitOr => {
            flatten_union(&union.left, members);
            flatten_union(&union.right, members);
        }
        other => members.push(unquoted(other)),
    }
}

fn none() -> Expr {
    Expr::NoneLiteral(ruff_python_ast::ExprNoneLiteral::default())
}

fn is_iterator(name: &str) -> bool {
    let short = name.rsplit('.').next().unwrap_or_default();
    matches!(short, "Iterator" | "Generator" | "AsyncIterator" | "AsyncGenerator")
}

/// Whether a class of the project is a pydantic model.
fn is_model(folder: &Folder<'_>, class: Class<'_>) -> bool {
    folder.project.ancestry(class).into_iter().flat_map(|class| folder.project.external_bases(class)).any(
        |base| matches!(base.as_str(), "pydantic.BaseModel" | "pydantic.main.BaseModel") || is_io_base(&base),
    )
}

fn is_io_base(name: &str) -> bool {
    matches!(
        name,
        "bentoml.IODescriptor" | "_bentoml_sdk.IODescriptor" | "_bentoml_sdk.io_models.IODescriptor"
    )
}

/// Whether a parameter is the request's context, which is not an input.
fn is_context<'p>(folder: &Folder<'p>, scope: Scope<'p>, name: &str, annotation: Option<&Expr>) -> bool {
    let is_typed = |annotation: &Expr| {
        folder
            .project
            .external_name(scope, &unquoted(annotation))
            .is_some_and(|name| name == "bentoml.Context")
    };
    matches!(name, "ctx" | "context") && annotation.is_none_or(is_typed)
}
