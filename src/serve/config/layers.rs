//! Where configuration comes from, and in which order one source overrides another.

use std::path::Path;

use serde_json::{Map, Value};

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

/// Keys that mean a setting of all runners; any other is a runner's name.
const RUNNER_SETTINGS: &[&str] =
    &["batching", "logging", "metrics", "resources", "traffic", "workers_per_resource"];

/// The configuration from outside of the service, lowest first: file, overrides, options.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    layers: Vec<Map<String, Value>>,
    /// What the same sources say about runners.
    runners: Vec<Map<String, Value>>,
}

impl Layers {
    /// Reads what the environment names.
    pub fn load(environment: &Environment) -> Result<Self, ConfigError> {
        let mut sources = Vec::new();
        if let Some(path) = environment.path("BENTOML_CONFIG") {
            sources.push(read_file(&path)?);
        }
        if let Some(text) = environment.text("BENTOML_CONFIG_OVERRIDES") {
            sources.push(serde_json::from_str(text).map_err(ConfigError::Json)?);
        }
        if let Some(text) = environment.text("BENTOML_CONFIG_OPTIONS") {
            sources.push(parse_options(text)?);
        }
        let mut layers = Self::default();
        for mut source in sources {
            expand(&mut source, environment);
            layers.layers.push(section(&source, "services")?);
            layers.runners.push(section(&source, "runners")?);
        }
        Ok(layers)
    }

    /// Merges everything that applies to `service` over `declared`, the decorator's arguments.
    pub fn merge(
        &self,
        service: &str,
        declared: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ConfigError> {
        let mut merged = declared.clone();
        for layer in &self.layers {
            let general = layer.iter().filter(|(key, _)| SETTINGS.contains(&key.as_str()));
            overlay(&mut merged, general);
            match layer.get(service) {
                Some(Value::Object(own)) => overlay(&mut merged, own.iter()),
                Some(Value::Null) | None => {}
                Some(other) => {
                    let key = format!("services.{service}");
                    return Err(ConfigError::NotAMap { key, found: other.to_string() });
                }
            }
        }
        Ok(merged)
    }

    /// Merges everything that applies to the runner `name` over `declared`, its own options.
    pub fn runner(
        &self,
        name: &str,
        declared: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ConfigError> {
        let mut merged = declared.clone();
        for layer in &self.runners {
            overlay(&mut merged, layer.iter().filter(|(key, _)| RUNNER_SETTINGS.contains(&key.as_str())));
            match layer.get(name) {
                Some(Value::Object(own)) => overlay(&mut merged, own.iter()),
                Some(Value::Null) | None => {}
                Some(other) => {
                    let key = format!("runners.{name}");
                    return Err(ConfigError::NotAMap { key, found: other.to_string() });
                }
            }
        }
        Ok(merged)
    }

    /// Returns the settings that hold for every service, for what must be known before the service is.
    pub fn general(&self) -> Map<String, Value> {
        let mut merged = Map::new();
        for layer in &self.layers {
            overlay(&mut merged, layer.iter().filter(|(key, _)| SETTINGS.contains(&key.as_str())));
        }
        merged
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

fn section(root: &Value, name: &str) -> Result<Map<String, Value>, ConfigError> {
    let not_a_map =
        |key: &str, found: &Value| ConfigError::NotAMap { key: key.to_owned(), found: found.to_string() };
    let section = match root {
        Value::Object(root) => root.get(name),
        Value::Null => None,
        other => return Err(not_a_map("the whole configuration", other)),
    };
    match section {
        Some(Value::Object(section)) => Ok(section.clone()),
        Some(Value::Null) | None => Ok(Map::new()),
        Some(other) => Err(not_a_map(name, other)),
    }
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
