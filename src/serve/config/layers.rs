//! Where configuration comes from, and in which order one source overrides another.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::ConfigError;
use crate::env::Environment;
use crate::yaml;

/// Keys that mean a setting below `services`; any other key with a map is a service's name.
const SETTINGS: &[&str] = &[
    "backlog",
    "batching",
    "endpoints",
    "envs",
    "extra_ports",
    "grpc",
    "http",
    "labels",
    "logging",
    "max_runner_connections",
    "metrics",
    "monitoring",
    "replicate_process",
    "resources",
    "runner_connection",
    "runner_probe",
    "ssl",
    "threads",
    "tracing",
    "traffic",
    "workers",
];

/// Keys that mean a setting below `runners`; any other key is a runner's name.
const RUNNER_SETTINGS: &[&str] =
    &["batching", "logging", "metrics", "resources", "traffic", "workers_per_resource"];

/// The configuration from outside of the service, lowest first: file, overrides, options.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    layers: Vec<Layer>,
}

/// What one source has, by its top keys.
#[derive(Clone, Debug, Default)]
struct Layer {
    /// Version 2: services that are classes.
    services: Map<String, Value>,
    /// Version 1: services of functions.
    api_server: Map<String, Value>,
    /// Version 1: their runners.
    runners: Map<String, Value>,
}

impl Layers {
    /// Reads what the environment names.
    pub fn load(environment: &Environment) -> Result<Self, ConfigError> {
        let mut layers = Vec::new();
        if let Some(path) = environment.path("BENTOML_CONFIG") {
            layers.push(layer(read_file(&path)?, environment)?);
        }
        if let Some(text) = environment.text("BENTOML_CONFIG_OVERRIDES") {
            layers.push(layer(serde_json::from_str(text).map_err(ConfigError::Json)?, environment)?);
        }
        if let Some(text) = environment.text("BENTOML_CONFIG_OPTIONS") {
            layers.push(layer(parse_options(text)?, environment)?);
        }
        Ok(Self { layers })
    }

    /// Merges everything that applies to `service` over `declared`, the decorator's arguments.
    pub fn merge(
        &self,
        service: &str,
        declared: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ConfigError> {
        let mut merged = declared.clone();
        for Layer { services: layer, .. } in &self.layers {
            let general = layer.iter().filter(|(key, _)| SETTINGS.contains(&key.as_str()));
            overlay(&mut merged, general);
            match layer.get(service) {
                Some(Value::Object(own)) => overlay(&mut merged, own.iter()),
                Some(Value::Null) | None => {}
                Some(other) => return Err(not_a_map(&format!("services.{service}"), other)),
            }
        }
        Ok(merged)
    }

    /// Returns the settings that hold for every service, for what must be known before the service is.
    pub fn general(&self) -> Map<String, Value> {
        let mut merged = Map::new();
        for Layer { services, .. } in &self.layers {
            overlay(&mut merged, services.iter().filter(|(key, _)| SETTINGS.contains(&key.as_str())));
        }
        merged
    }

    /// Merges everything that applies to a service of functions over upstream's defaults for those.
    pub fn api_server(&self) -> Map<String, Value> {
        let mut merged = api_server_defaults();
        for Layer { api_server, .. } in &self.layers {
            overlay(&mut merged, api_server.iter());
        }
        merged
    }

    /// Merges everything that applies to a runner of a service of functions: what is said of all runners, then of it.
    pub fn runner(&self, name: &str) -> Result<Map<String, Value>, ConfigError> {
        let mut merged = Map::new();
        for Layer { runners, .. } in &self.layers {
            overlay(&mut merged, runners.iter().filter(|(key, _)| RUNNER_SETTINGS.contains(&key.as_str())));
            match runners.get(name) {
                Some(Value::Object(own)) => overlay(&mut merged, own.iter()),
                Some(Value::Null) | None => {}
                Some(other) => return Err(not_a_map(&format!("runners.{name}"), other)),
            }
        }
        Ok(merged)
    }
}

fn read_file(path: &Path) -> Result<Value, ConfigError> {
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if !is_yaml {
        return Err(ConfigError::Extension { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let node = yaml::read(&text).map_err(|source| ConfigError::Yaml { path: path.to_owned(), source })?;
    Ok(node.into_value().to_json())
}

/// Reads `a.b=c` words separated by white space or commas; values are YAML scalars.
fn parse_options(text: &str) -> Result<Value, ConfigError> {
    let mut root = Map::new();
    for word in text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
        let not_a_pair = || ConfigError::Option { word: word.to_owned() };
        let (path, value) = word.split_once('=').ok_or_else(not_a_pair)?;
        let value = yaml::read(value).map_or_else(|_| value.into(), |node| node.into_value().to_json());
        let mut option = value;
        for key in path.rsplit('.') {
            if key.is_empty() {
                return Err(not_a_pair());
            }
            option = Value::Object(Map::from_iter([(key.to_owned(), option)]));
        }
        if let Value::Object(option) = option {
            overlay(&mut root, option.iter());
        }
    }
    Ok(Value::Object(root))
}

fn layer(root: Value, environment: &Environment) -> Result<Layer, ConfigError> {
    let mut root = match root {
        Value::Object(root) => root,
        Value::Null => Map::new(),
        other => return Err(not_a_map("the whole configuration", &other)),
    };
    let mut section = |key: &str| match root.remove(key) {
        Some(Value::Object(mut section)) => {
            section.values_mut().for_each(|value| expand(value, environment));
            Ok(section)
        }
        Some(Value::Null) | None => Ok(Map::new()),
        Some(other) => Err(not_a_map(key, &other)),
    };
    Ok(Layer {
        services: section("services")?,
        api_server: section("api_server")?,
        runners: section("runners")?,
    })
}

/// What version 1 has that version 2 has otherwise (runtime contract 7.2).
fn api_server_defaults() -> Map<String, Value> {
    let defaults = json!({
        "workers": "cpu_count",
        "metrics": {"namespace": "bentoml_api_server"},
        "logging": {"access": {"skip_paths": []}},
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

fn not_a_map(key: &str, found: &Value) -> ConfigError {
    ConfigError::NotAMap { key: key.to_owned(), found: found.to_string() }
}

fn overlay<'a>(onto: &mut Map<String, Value>, over: impl Iterator<Item = (&'a String, &'a Value)>) {
    for (key, value) in over {
        match (onto.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => overlay(below, above.iter()),
            _ => {
                onto.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Replaces `${NAME}` and `${NAME:-default}` in all strings.
fn expand(value: &mut Value, environment: &Environment) {
    match value {
        Value::String(text) if text.contains("${") => *text = expand_text(text, environment),
        Value::Array(items) => items.iter_mut().for_each(|item| expand(item, environment)),
        Value::Object(members) => members.values_mut().for_each(|member| expand(member, environment)),
        _ => {}
    }
}

/// A variable that is unset and has no default stays as it is written, so that the message about it shows it.
fn expand_text(text: &str, environment: &Environment) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        let inside = &rest[start + 2..start + length];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        expanded.push_str(&rest[..start]);
        let whole = &rest[start..=start + length];
        expanded.push_str(environment.text(name).or(default).unwrap_or(whole));
        rest = &rest[start + length + 1..];
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layers(variables: &[(&str, &str)]) -> Result<Layers, ConfigError> {
        Layers::load(&variables.iter().copied().collect())
    }

    fn declared(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn later_sources_win_and_maps_are_merged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        std::fs::write(
            &path,
            "services:\n  workers: 2\n  Main:\n    traffic: {timeout: 9}\n  Other: {workers: 7}\n",
        )
        .unwrap();
        let layers = layers(&[
            ("BENTOML_CONFIG", path.to_str().unwrap()),
            ("BENTOML_CONFIG_OVERRIDES", r#"{"services": {"Main": {"threads": 4}}}"#),
            ("BENTOML_CONFIG_OPTIONS", "services.Main.traffic.timeout=5 services.threads=1"),
        ])
        .unwrap();
        let merged =
            layers.merge("Main", &declared(&json!({"traffic": {"timeout": 1, "max_concurrency": 3}})));
        let expected = json!({"traffic": {"timeout": 5, "max_concurrency": 3}, "workers": 2, "threads": 1});
        assert_eq!(Value::Object(merged.unwrap()), expected);
        assert_eq!(Value::Object(layers.general()), json!({"workers": 2, "threads": 1}));
    }

    #[test]
    fn services_of_functions_have_keys_of_their_own() {
        let overrides = json!({
            "services": {"workers": 9},
            "api_server": {"workers": 2, "traffic": {"timeout": "${T:-7}"}, "metrics": {"enabled": false}},
            "runners": {"batching": {"max_batch_size": 10}, "iris": {"batching": {"enabled": false}}},
        });
        let layers = layers(&[
            ("BENTOML_CONFIG_OVERRIDES", &overrides.to_string()),
            ("BENTOML_CONFIG_OPTIONS", "api_server.traffic.max_concurrency=3"),
        ])
        .unwrap();
        let expected = json!({
            "workers": 2, "traffic": {"timeout": "7", "max_concurrency": 3},
            "metrics": {"namespace": "bentoml_api_server", "enabled": false},
            "logging": {"access": {"skip_paths": []}},
        });
        assert_eq!(Value::Object(layers.api_server()), expected);
        let runner = |name: &str| Value::Object(layers.runner(name).unwrap());
        assert_eq!(runner("iris"), json!({"batching": {"max_batch_size": 10, "enabled": false}}));
        assert_eq!(runner("other"), json!({"batching": {"max_batch_size": 10}}));
        assert_eq!(Layers::default().api_server()["workers"], "cpu_count");
    }

    #[test]
    fn variables_are_expanded_in_strings() {
        let environment: Environment = [("A", "1")].into_iter().collect();
        let expand = |text: &str| expand_text(text, &environment);
        assert_eq!(expand("x${A}y${B:-2}z"), "x1y2z");
        assert_eq!(expand("${B}"), "${B}");
        assert_eq!(expand("${B:-}|${"), "|${");
    }

    #[test]
    fn wrong_sources_are_named() {
        let message = |variables: &[(&str, &str)]| layers(variables).unwrap_err().to_string();
        assert_eq!(
            message(&[("BENTOML_CONFIG_OVERRIDES", "{")]),
            "cannot understand `BENTOML_CONFIG_OVERRIDES`"
        );
        let wrong = message(&[("BENTOML_CONFIG_OVERRIDES", r#"{"services": 1}"#)]);
        assert_eq!(wrong, "invalid configuration: `services` must be a map, but is `1`");
        let wrong = message(&[("BENTOML_CONFIG_OPTIONS", "a.b")]);
        assert_eq!(wrong, "`a.b` in `BENTOML_CONFIG_OPTIONS` is not of the form `key=value`");
        let wrong = message(&[("BENTOML_CONFIG", "/nowhere.yaml")]);
        assert_eq!(wrong, "cannot read the configuration file `/nowhere.yaml`");
        let wrong = message(&[("BENTOML_CONFIG", "/nowhere.json")]);
        assert_eq!(wrong, "the configuration file `/nowhere.json` must end in `.yaml` or `.yml`");
    }
}
