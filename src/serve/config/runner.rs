//! One runner's configuration: the section `runners` of the older form of the file (runtime contract 7.2).

use std::time::Duration;

use serde_json::{Map, Value};

use super::ConfigError;
use super::service::Timeout;

/// How long a call of a runner may take by default, in seconds.
const TIMEOUT: u32 = 900;

/// A runner's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerConfig {
    /// How many workers for each device, or for each core of a runner that computes with one thread.
    pub workers_per_resource: u32,
    /// How long a call may take.
    pub timeout: Duration,
    /// How many cores it has; `None` is all.
    pub cores: Option<u32>,
    /// Which devices it has; `None` is all.
    pub devices: Option<Devices>,
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
        let timeout = merged.get("traffic").and_then(|traffic| traffic.get("timeout"));
        let timeout = timeout.filter(|timeout| !timeout.is_null());
        Ok(Self {
            workers_per_resource: workers(merged.get("workers_per_resource"))?,
            timeout: Timeout::new(Some(timeout.unwrap_or(&Value::from(TIMEOUT))))?.limit,
            cores: resource("cpu").map(cores).transpose()?,
            devices: resource("nvidia.com/gpu").map(devices).transpose()?,
        })
    }
}

fn workers(value: Option<&Value>) -> Result<u32, ConfigError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(1) };
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    count.ok_or_else(|| wrong("workers_per_resource", "a whole number above 0", value))
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
        assert_eq!((config.workers_per_resource, config.timeout.as_secs()), (1, 900));
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
    fn wrong_values_are_named() {
        let message = |value: Value| read(&value).unwrap_err();
        assert_eq!(
            message(json!({"workers_per_resource": 0})),
            "invalid configuration: `runners.workers_per_resource` must be a whole number above 0, but is `0`"
        );
        assert!(message(json!({"resources": {"cpu": "many"}})).contains("`runners.resources.cpu`"));
        assert!(message(json!({"resources": {"nvidia.com/gpu": {}}})).contains("a number of devices"));
    }
}
