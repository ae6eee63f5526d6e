//! One runner's configuration: the section `runners` of the older form of the file (runtime contract 7.2).

use serde::Serialize;
use serde_json::{Map, Value};

use super::ConfigError;
use super::reader::{Reader, number};
use super::service::{Metrics, Timeout};
use crate::serve::worker::memory::Memory;

/// How long a call of a runner may take by default, in seconds.
const TIMEOUT: u32 = 900;

/// A runner's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerConfig {
    /// How many workers for each device, or for each core of a runner that computes with one thread.
    pub workers_per_resource: Density,
    /// How long a call may take.
    pub timeout: Timeout,
    /// How many calls are taken at a time; more are refused.
    pub max_concurrency: Option<u32>,
    /// A worker that holds more memory is replaced; `None` is any amount.
    pub worker_memory_limit: Option<Memory>,
    /// How calls are merged.
    pub batching: BatchConfig,
    /// How calls are counted; `None` when they are not.
    pub metrics: Option<Metrics>,
    /// How many cores it has; `None` is all.
    pub cores: Option<u32>,
    /// Which devices it has; `None` is all.
    pub devices: Option<Devices>,
}

/// How calls of a runner are merged, where its code does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BatchConfig {
    /// Whether they are merged at all.
    pub enabled: bool,
    /// Most rows of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<u32>,
    /// How long a call may take, from its arrival to the end of its batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<u32>,
}

/// How many workers there are for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Density {
    /// So many for each.
    Workers(u32),
    /// One for so many of them.
    Devices(u32),
}

impl Density {
    /// How many workers a core has: one at least.
    pub fn on_core(self) -> u32 {
        match self {
            Self::Workers(workers) => workers,
            Self::Devices(_) => 1,
        }
    }
}

/// Which devices a runner has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// The first ones.
    Count(u32),
    /// These.
    Named(Vec<String>),
}

impl RunnerConfig {
    /// Reads the merged section of a runner.
    pub fn new(merged: &Map<String, Value>) -> Result<Self, ConfigError> {
        let resources = match merged.get("resources") {
            Some(Value::Object(resources)) => Some(resources),
            None | Some(Value::Null) => None,
            // All there is.
            Some(Value::String(word)) if word == "system" => None,
            Some(other) => return Err(wrong("resources", "a map, or `system`", other)),
        };
        let resource = |name: &str| {
            let value = resources.and_then(|resources| resources.get(name));
            value.filter(|value| !value.is_null() && value.as_str() != Some("system"))
        };
        let root = Reader { values: merged };
        let timeout = merged.get("traffic").and_then(|traffic| traffic.get("timeout"));
        let timeout = timeout.filter(|timeout| !timeout.is_null());
        Ok(Self {
            workers_per_resource: density(merged.get("workers_per_resource"))?,
            max_concurrency: count(&root, "traffic.max_concurrency")?,
            worker_memory_limit: root.memory("worker_memory_limit").map_err(of_runners)?,
            batching: BatchConfig {
                enabled: root.flag("batching.enabled", true).map_err(of_runners)?,
                max_batch_size: count(&root, "batching.max_batch_size")?,
                max_latency_ms: count(&root, "batching.max_latency_ms")?,
            },
            metrics: Metrics::read(&root, "bentoml_runner").map_err(of_runners)?,
            timeout: Timeout::new(Some(timeout.unwrap_or(&Value::from(TIMEOUT))))?,
            cores: resource("cpu").map(cores).transpose()?,
            devices: resource("nvidia.com/gpu").map(devices).transpose()?,
        })
    }
}

fn count(root: &Reader<'_>, key: &str) -> Result<Option<u32>, ConfigError> {
    root.count(key).map_err(of_runners)
}

/// Names a key as it stands in the file.
fn of_runners(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Value { key, expected, found } => {
            ConfigError::Value { key: format!("runners.{key}"), expected, found }
        }
        other => other,
    }
}

fn density(value: Option<&Value>) -> Result<Density, ConfigError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(Density::Workers(1)) };
    let each = number(value).filter(|each| *each > 0.0 && *each < f64::from(u16::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let density = match each {
        Some(each) if each < 1.0 => Some(Density::Devices((1.0 / each).round() as u32)),
        Some(each) if each.fract() == 0.0 => Some(Density::Workers(each as u32)),
        _ => None,
    };
    let expected = "a whole number above 0, or a part of 1";
    density.ok_or_else(|| wrong("workers_per_resource", expected, value))
}

/// Reads a number of cores: `2`, `1.5` or `"500m"`; parts are rounded up.
fn cores(value: &Value) -> Result<u32, ConfigError> {
    let number = value.as_f64().or_else(|| {
        let text = value.as_str()?;
        match text.strip_suffix('m') {
            Some(thousandths) => thousandths.parse::<f64>().ok().map(|thousandths| thousandths / 1000.0),
            None => text.parse().ok(),
        }
    });
    let number = number.filter(|number| *number > 0.0 && *number < f64::from(u16::MAX));
    let number = number.ok_or_else(|| wrong("resources.cpu", "a number of cores", value))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(number.ceil() as u32)
}

fn devices(value: &Value) -> Result<Devices, ConfigError> {
    let named = |items: &Vec<Value>| {
        let names = items.iter().map(|item| match item {
            Value::Number(number) => Some(number.to_string()),
            Value::String(name) => Some(name.clone()),
            _ => None,
        });
        names.collect::<Option<Vec<String>>>().map(Devices::Named)
    };
    let count = |number: u64| u32::try_from(number).ok().map(Devices::Count);
    let found = match value {
        Value::Array(items) => named(items),
        Value::Number(number) => number.as_u64().and_then(count),
        Value::String(text) => text.parse().ok().and_then(count),
        _ => None,
    };
    found.ok_or_else(|| wrong("resources.nvidia.com/gpu", "a number of devices, or a list of them", value))
}

fn wrong(key: &str, expected: &'static str, found: &Value) -> ConfigError {
    ConfigError::Value { key: format!("runners.{key}"), expected, found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<RunnerConfig, String> {
        RunnerConfig::new(value.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_runner_has_upstreams_defaults() {
        let config = read(&json!({})).unwrap();
        assert_eq!((config.workers_per_resource, config.timeout.limit.as_secs()), (Density::Workers(1), 900));
        assert_eq!((config.max_concurrency, config.worker_memory_limit), (None, None));
        assert_eq!(config.metrics.unwrap().namespace, "bentoml_runner");
        let batching = BatchConfig { enabled: true, max_batch_size: None, max_latency_ms: None };
        assert_eq!(config.batching, batching);
        assert_eq!((config.cores, config.devices), (None, None));
        assert_eq!(read(&json!({"resources": "system"})).unwrap().cores, None);
    }

    #[test]
    fn resources_are_read_in_all_their_forms() {
        let config = read(&json!({"resources": {"cpu": "1500m", "nvidia.com/gpu": [0, "GPU-x"]}})).unwrap();
        assert_eq!(config.cores, Some(2));
        assert_eq!(config.devices, Some(Devices::Named(vec!["0".to_owned(), "GPU-x".to_owned()])));
        let config = read(&json!({"resources": {"cpu": 4, "nvidia.com/gpu": "2"}})).unwrap();
        assert_eq!((config.cores, config.devices), (Some(4), Some(Devices::Count(2))));
    }

    #[test]
    fn what_is_said_of_calls_is_read() {
        let config = read(&json!({
            "workers_per_resource": 0.5, "worker_memory_limit": "1Gi",
            "traffic": {"timeout": 2.5, "max_concurrency": 3},
            "batching": {"enabled": false, "max_batch_size": 7, "max_latency_ms": "50"},
        }))
        .unwrap();
        assert_eq!((config.workers_per_resource, config.max_concurrency), (Density::Devices(2), Some(3)));
        assert_eq!(
            (config.timeout.limit.as_millis(), config.worker_memory_limit),
            (2500, Some(Memory(1 << 30)))
        );
        let batching = BatchConfig { enabled: false, max_batch_size: Some(7), max_latency_ms: Some(50) };
        assert_eq!(config.batching, batching);
        assert_eq!(serde_json::to_value(batching).unwrap()["max_latency_ms"], 50);
    }

    #[test]
    fn wrong_values_are_named() {
        let message = |value: Value| read(&value).unwrap_err();
        assert_eq!(
            message(json!({"workers_per_resource": 0})),
            "invalid configuration: `runners.workers_per_resource` must be a whole number above 0, or a part of 1, but is `0`"
        );
        assert!(message(json!({"workers_per_resource": 1.5})).contains("`runners.workers_per_resource`"));
        let found = message(json!({"batching": {"max_batch_size": 0}}));
        assert!(found.contains("`runners.batching.max_batch_size` must be a positive number"), "{found}");
        assert!(message(json!({"resources": {"cpu": "many"}})).contains("`runners.resources.cpu`"));
        assert!(message(json!({"resources": {"nvidia.com/gpu": {}}})).contains("a number of devices"));
    }
}
