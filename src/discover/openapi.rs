//! The `OpenAPI` description of a service, made of the same types as its schema.

use serde_json::{Map, Value as Json, json};

use super::api::Api;
use super::{Service, join_route};

/// Describes the entry service of a bento.
///
/// What the service exchanges as files and arrays is described as it travels: files as binary
/// text in a form, arrays as nested lists of numbers.
pub fn openapi(service: &Service, readme: &str) -> Json {
    let mut paths = Map::new();
    for (path, description) in infrastructure() {
        paths.insert(join_route(&service.path_prefix, path), infrastructure_path(description));
    }
    for api in &service.apis {
        paths.insert(join_route(&service.path_prefix, &api.route), json!({"post": operation(service, api)}));
    }
    paths.sort_keys();
    json!({
        "components": {"schemas": components(service)},
        "info": {"description": readme, "title": service.name, "version": "None"},
        "openapi": "3.0.2",
        "paths": paths,
        "servers": [{"url": "."}],
        "tags": [
            {"name": "Service APIs", "description": "The methods of the service."},
            {"name": "Infrastructure", "description": "Health and metrics of the server."},
        ],
    })
}

fn infrastructure() -> [(&'static str, &'static str); 4] {
    [
        ("/healthz", "Answers when the server is healthy."),
        ("/livez", "Answers when the server is alive."),
        ("/metrics", "Metrics in the text format of Prometheus."),
        ("/readyz", "Answers when the service is ready for requests."),
    ]
}

fn infrastructure_path(description: &str) -> Json {
    json!({"get": {
        "description": description,
        "responses": {"200": {"description": "Successful Response"}},
        "tags": ["Infrastructure"],
    }})
}

fn operation(service: &Service, api: &Api) -> Json {
    let (input, input_has_files) = on_the_wire(&api.input);
    let (output, output_is_file) = on_the_wire(&api.output);
    let declared = api.output.get("media_type").and_then(Json::as_str);
    let is_text = output.get("type").and_then(Json::as_str) == Some("string");
    let media_type = match declared {
        Some(media_type) => media_type,
        None if output_is_file && is_text => "application/octet-stream",
        None if is_text => "text/plain",
        None => "application/json",
    };
    let request_type = match api.input.get("media_type").and_then(Json::as_str) {
        Some(media_type) => media_type,
        None if input_has_files => "multipart/form-data",
        None => "application/json",
    };
    json!({
        "description": api.doc.as_deref().unwrap_or_default(),
        "operationId": format!("{}__{}", service.name, api.name),
        "requestBody": {"content": {request_type: {"schema": input}}},
        "responses": {
            "200": {"content": {media_type: {"schema": output}}, "description": "Successful Response"},
            "400": failure("InvalidArgument", "Bad Request"),
            "404": failure("NotFound", "Not Found"),
            "500": failure("InternalServerError", "Internal Server Error"),
        },
        "tags": ["Service APIs"],
        "x-bentoml-name": api.name,
    })
}

fn failure(schema: &str, description: &str) -> Json {
    let reference = format!("#/components/schemas/{schema}");
    json!({
        "content": {"application/json": {"schema": {"$ref": reference}}},
        "description": description,
    })
}

/// The inputs by name, and the errors.
fn components(service: &Service) -> Json {
    let mut schemas = Map::new();
    for api in &service.apis {
        let (mut input, _) = on_the_wire(&api.input);
        let name = match input.get("title").and_then(Json::as_str) {
            Some("Input") => format!("{}__Input", api.name),
            Some(title) => title.to_owned(),
            None => continue,
        };
        if let Some(map) = input.as_object_mut() {
            map.insert("title".to_owned(), name.clone().into());
        }
        schemas.insert(name, input);
    }
    for (name, description) in [
        ("InternalServerError", "Internal Server Error"),
        ("InvalidArgument", "Bad Request"),
        ("NotFound", "Not Found"),
    ] {
        let text = |title: &str| json!({"title": title, "type": "string"});
        let schema = json!({
            "description": description,
            "properties": {"detail": text("Error Detail"), "error": text("Message")},
            "required": ["error"],
            "title": name,
            "type": "object",
        });
        schemas.insert(name.to_owned(), schema);
    }
    schemas.sort_keys();
    Json::Object(schemas)
}

/// A schema with the types that only the service knows replaced, and whether files were among them.
fn on_the_wire(schema: &Json) -> (Json, bool) {
    let mut has_files = false;
    let schema = replaced(schema, &mut has_files);
    (schema, has_files)
}

fn replaced(schema: &Json, has_files: &mut bool) -> Json {
    let Json::Object(map) = schema else {
        return match schema {
            Json::Array(items) => items.iter().map(|item| replaced(item, has_files)).collect(),
            other => other.clone(),
        };
    };
    let mut result = Map::new();
    for (key, value) in map {
        if !matches!(key.as_str(), "root_input" | "is_stream" | "media_type" | "$defs") {
            result.insert(key.clone(), replaced(value, has_files));
        }
    }
    let special = match map.get("type").and_then(Json::as_str) {
        Some("tensor") => {
            let dimensions = map.get("shape").and_then(Json::as_array).map_or(1, Vec::len);
            (0..dimensions)
                .fold(json!({"type": "number"}), |inner, _| json!({"items": inner, "type": "array"}))
        }
        Some("dataframe") => json!({"items": {"type": "object"}, "type": "array"}),
        Some("file") => {
            *has_files = true;
            json!({"format": "binary", "type": "string"})
        }
        _ => return Json::Object(result),
    };
    for key in ["format", "dtype", "shape", "dim", "orient", "columns", "pil", "content_type"] {
        result.shift_remove(key);
    }
    result.extend(special.as_object().cloned().unwrap_or_default());
    Json::Object(result)
}
