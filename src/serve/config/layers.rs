//! Where configuration comes from, and in which order one source overrides another.

use std::collections::BTreeSet;
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
    "worker_memory_limit",
    "workers",
];

/// Keys that mean a setting below `runners`; any other key is a runner's name.
const RUNNER_SETTINGS: &[&str] = &[
    "batching",
    "logging",
    "metrics",
    "resources",
    "traffic",
    "worker_memory_limit",
    "workers_per_resource",
];

/// What of the command line is for runners too.
const RUNNER_FLAGS: &[&str] = &["worker_memory_limit"];

/// Versions of the configuration: of services of functions, and of classes.
const VERSIONS: [u64; 2] = [1, 2];

/// Sections of version 1 that stand beside `api_server` and that version 2 has in each service.
const BESIDE: [&str; 2] = ["tracing", MONITORING];

/// The section of monitoring, which is for workers.
const MONITORING: &str = "monitoring";

/// The configuration from outside of the service, lowest first: file, overrides, options, flags.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Version 2: services that are classes.
    services: Map<String, Value>,
    /// Version 1: services of functions.
    api_server: Map<String, Value>,
    /// Version 1: their runners.
    runners: Map<String, Value>,
    /// From the command line.
    flags: Map<String, Value>,
    /// Keys beside `services`.
    others: BTreeSet<String>,
}

impl Layers {
    /// Reads what the environment names.
    pub fn load(environment: &Environment) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        if let Some(path) = environment.path("BENTOML_CONFIG") {
            layers.add(read_file(&path)?, environment)?;
        }
        if let Some(text) = environment.text("BENTOML_CONFIG_OVERRIDES") {
            layers.add(serde_json::from_str(text).map_err(ConfigError::Json)?, environment)?;
        }
        if let Some(text) = environment.text("BENTOML_CONFIG_OPTIONS") {
            layers.add(parse_options(text)?, environment)?;
        }
        Ok(layers)
    }

    /// Puts what the command line says over everything else.
    #[must_use]
    pub fn with_flags(mut self, flags: Map<String, Value>) -> Self {
        self.flags = flags;
        self
    }

    /// Merges everything that applies to `service` over `declared`, the decorator's arguments.
    pub fn merge(
        &self,
        service: &str,
        declared: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ConfigError> {
        let mut merged = declared.clone();
        overlay(&mut merged, self.of_all());
        match self.services.get(service).filter(|_| !SETTINGS.contains(&service)) {
            Some(Value::Object(own)) => overlay(&mut merged, own.iter()),
            Some(Value::Null) | None => {}
            Some(other) => return Err(not_a_map(&format!("services.{service}"), other)),
        }
        overlay(&mut merged, self.flags.iter());
        Ok(merged)
    }

    /// Returns the settings that hold for every service, for what must be known before the service is.
    pub fn general(&self) -> Map<String, Value> {
        let mut merged = Map::new();
        overlay(&mut merged, self.of_all());
        overlay(&mut merged, self.flags.iter());
        merged
    }

    /// Merges everything that applies to a service of functions over upstream's defaults for those.
    pub fn api_server(&self) -> Map<String, Value> {
        let mut merged = api_server_defaults();
        overlay(&mut merged, self.api_server.iter().chain(&self.flags));
        merged
    }

    /// Merges everything that applies to a runner of a service of functions: what is said of all runners, then of it.
    pub fn runner(&self, name: &str) -> Result<Map<String, Value>, ConfigError> {
        let mut merged = Map::new();
        let of_all = self.runners.iter().filter(|(key, _)| RUNNER_SETTINGS.contains(&key.as_str()));
        overlay(&mut merged, of_all);
        match self.runners.get(name) {
            Some(Value::Object(own)) => overlay(&mut merged, own.iter()),
            Some(Value::Null) | None => {}
            Some(other) => return Err(not_a_map(&format!("runners.{name}"), other)),
        }
        let flags = self.flags.iter().filter(|(key, _)| RUNNER_FLAGS.contains(&key.as_str()));
        overlay(&mut merged, flags);
        Ok(merged)
    }

    /// Returns the section `runners`: what is said of all, and of each under its name.
    pub fn runners(&self) -> &Map<String, Value> {
        &self.runners
    }

    /// Returns what is said of monitoring: of all services, and of each under its name, in the form of `services`.
    pub fn monitoring(&self) -> Map<String, Value> {
        let part = |(name, value): (&String, &Value)| {
            let own =
                || value.get(MONITORING).map(|own| Map::from_iter([(MONITORING.to_owned(), own.clone())]));
            let is_general = name == MONITORING;
            let kept = if is_general { Some(value.clone()) } else { own().map(Value::Object) };
            Some((name.clone(), kept.filter(|_| is_general || !SETTINGS.contains(&name.as_str()))?))
        };
        self.services.iter().filter_map(part).collect()
    }

    /// Returns the keys beside `services`, which have no effect on services that are classes.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str)
    }

    fn of_all(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.services.iter().filter(|(key, _)| SETTINGS.contains(&key.as_str()))
    }

    /// Adds one source over those before it.
    fn add(&mut self, root: Value, environment: &Environment) -> Result<(), ConfigError> {
        let mut root = match root {
            Value::Object(root) => root,
            Value::Null => Map::new(),
            other => return Err(not_a_map("the whole configuration", &other)),
        };
        if let Some(version) = root.remove("version").filter(|version| !version.is_null())
            && !version.as_u64().is_some_and(|version| VERSIONS.contains(&version))
        {
            return Err(ConfigError::Version { found: version.to_string() });
        }
        root.values_mut().for_each(|value| expand(value, environment));
        self.others.extend(root.keys().filter(|key| *key != "services").cloned());
        let mut section = |key: &str| match root.remove(key) {
            Some(Value::Object(section)) => Ok(section),
            Some(Value::Null) | None => Ok(Map::new()),
            Some(other) => Err(not_a_map(key, &other)),
        };
        overlay(&mut self.services, section("services")?.iter());
        overlay(&mut self.api_server, section("api_server")?.iter());
        overlay(&mut self.runners, section("runners")?.iter());
        overlay(&mut self.api_server, root.iter().filter(|(key, _)| BESIDE.contains(&key.as_str())));
        Ok(())
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

/// Reads `a.b=c` words separated by white space; values are YAML. Quotes keep together what belongs together.
fn parse_options(text: &str) -> Result<Value, ConfigError> {
    let mut root = Map::new();
    for word in split(text, char::is_whitespace).filter(|word| !word.is_empty()) {
        let not_a_pair = || ConfigError::Option { word: word.to_owned() };
        let path = split(word, |c| c == '=').next().unwrap_or_default();
        let value = word[path.len()..].strip_prefix('=').ok_or_else(not_a_pair)?;
        let value = yaml::read(value).map_or_else(|_| value.into(), |node| node.into_value().to_json());
        let mut option = value;
        let keys: Vec<&str> = split(path, |c| c == '.').map(|key| key.trim_matches('"')).collect();
        for key in keys.into_iter().rev() {
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

/// Splits a text where `is_end` says so, except between quotes.
fn split(text: &str, is_end: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c: char| {
        is_quoted ^= c == '"';
        !is_quoted && is_end(c)
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
        let expected = json!({"traffic": {"timeout": 5, "max_concurrency": 3}, "workers": 2, "threads": 4});
        assert_eq!(Value::Object(merged.unwrap()), expected);
        assert_eq!(Value::Object(layers.general()), json!({"workers": 2, "threads": 1}));
    }

    #[test]
    fn monitoring_is_told_apart_for_workers() {
        let overrides = json!({"services": {
            "monitoring": {"enabled": false}, "http": {"monitoring": 1},
            "Main": {"monitoring": {"options": {"log_path": "x"}}, "workers": 2}, "Other": {"workers": 1},
        }});
        let layers = layers(&[("BENTOML_CONFIG_OVERRIDES", &overrides.to_string())]).unwrap();
        let expected =
            json!({"monitoring": {"enabled": false}, "Main": {"monitoring": {"options": {"log_path": "x"}}}});
        assert_eq!(Value::Object(layers.monitoring()), expected);
        assert!(Layers::default().monitoring().is_empty());
    }

    #[test]
    fn services_of_functions_have_keys_of_their_own() {
        let overrides = json!({
            "services": {"workers": 9},
            "api_server": {"workers": 2, "traffic": {"timeout": "${T:-7}"}, "metrics": {"enabled": false}},
            "tracing": {"sample_rate": 0.5},
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
            "logging": {"access": {"skip_paths": []}}, "tracing": {"sample_rate": 0.5},
        });
        assert_eq!(Value::Object(layers.api_server()), expected);
        let runner = |name: &str| Value::Object(layers.runner(name).unwrap());
        assert_eq!(runner("iris"), json!({"batching": {"max_batch_size": 10, "enabled": false}}));
        assert_eq!(runner("other"), json!({"batching": {"max_batch_size": 10}}));
        assert_eq!(Layers::default().api_server()["workers"], "cpu_count");
    }

    #[test]
    fn what_names_a_service_wins_over_what_names_all() {
        let layers = layers(&[
            ("BENTOML_CONFIG_OVERRIDES", r#"{"services": {"Main": {"workers": 2}, "threads": 3}}"#),
            ("BENTOML_CONFIG_OPTIONS", "services.workers=7"),
        ])
        .unwrap()
        .with_flags(declared(&json!({"ssl": {"enabled": true}})));
        let merged = layers.merge("Main", &declared(&json!({"ssl": {"certfile": "c"}})));
        let expected = json!({"ssl": {"certfile": "c", "enabled": true}, "workers": 2, "threads": 3});
        assert_eq!(Value::Object(merged.unwrap()), expected);
        assert_eq!(
            Value::Object(layers.general()),
            json!({"workers": 7, "threads": 3, "ssl": {"enabled": true}})
        );
    }

    #[test]
    fn options_have_quotes_and_lists() {
        let text = r#"services."my.svc".metrics.duration.buckets=[0.5,2] services.a="x y" services.b= "#;
        let expected = json!({"services": {"my.svc": {"metrics": {"duration": {"buckets": [0.5, 2]}}}, "a": "x y", "b": null}});
        assert_eq!(parse_options(text).unwrap(), expected);
    }

    #[test]
    fn keys_beside_services_are_told_of() {
        let layers =
            layers(&[("BENTOML_CONFIG_OVERRIDES", r#"{"version": 1, "runners": {}, "api_server": {}}"#)]);
        assert_eq!(layers.unwrap().others().collect::<Vec<_>>(), ["api_server", "runners"]);
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
        let wrong = message(&[("BENTOML_CONFIG_OVERRIDES", r#"{"version": 3}"#)]);
        assert_eq!(wrong, "invalid configuration: `version` must be 2, but is `3`");
        let wrong = message(&[("BENTOML_CONFIG_OPTIONS", "a.b")]);
        assert_eq!(wrong, "`a.b` in `BENTOML_CONFIG_OPTIONS` is not of the form `key=value`");
        let wrong = message(&[("BENTOML_CONFIG", "/nowhere.yaml")]);
        assert_eq!(wrong, "cannot read the configuration file `/nowhere.yaml`");
        let wrong = message(&[("BENTOML_CONFIG", "/nowhere.json")]);
        assert_eq!(wrong, "the configuration file `/nowhere.json` must end in `.yaml` or `.yml`");
    }
}
