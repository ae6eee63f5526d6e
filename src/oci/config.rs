//! What an image's configuration says about running it, and how a build changes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Changes to the configuration of a base image (image-spec, config.md, Properties).
///
/// Environment variables are added or replaced one by one, labels and ports are added, the rest replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigPatch {
    /// Variables by name; `PATH` included.
    pub env: BTreeMap<String, String>,
    /// The command that every container of the image runs.
    pub entrypoint: Vec<String>,
    /// Arguments to it that `docker run IMAGE …` replaces.
    pub command: Vec<String>,
    /// `user[:group]`, by number.
    pub user: Option<String>,
    /// Directory in which the command starts.
    pub working_directory: Option<String>,
    /// Ports with protocol, such as `3000/tcp`.
    pub exposed_ports: Vec<String>,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the container to stop.
    pub stop_signal: Option<String>,
    /// When the image was made, RFC 3339.
    pub created: Option<String>,
}

impl ConfigPatch {
    /// Applies the changes to a configuration document.
    pub fn apply(&self, document: &mut Map<String, Value>) {
        if let Some(created) = &self.created {
            document.insert("created".to_owned(), json!(created));
        }
        let config = object(document, "config");
        let mut env = strings(config.get("Env"));
        for (name, value) in &self.env {
            let assignment = format!("{name}={value}");
            let is_same = |old: &&mut String| old.split_once('=').is_some_and(|(old, _)| old == name);
            match env.iter_mut().find(is_same) {
                Some(old) => *old = assignment,
                None => env.push(assignment),
            }
        }
        replace(config, "Env", &env);
        replace(config, "Entrypoint", &self.entrypoint);
        if !self.entrypoint.is_empty() {
            config.remove("Cmd");
            config.remove("ArgsEscaped");
        }
        replace(config, "Cmd", &self.command);
        for (key, value) in
            [("User", &self.user), ("WorkingDir", &self.working_directory), ("StopSignal", &self.stop_signal)]
        {
            if let Some(value) = value {
                config.insert(key.to_owned(), json!(value));
            }
        }
        for port in &self.exposed_ports {
            object(config, "ExposedPorts").insert(port.clone(), json!({}));
        }
        for (name, value) in &self.labels {
            object(config, "Labels").insert(name.clone(), json!(value));
        }
    }
}

/// The value of an environment variable in a configuration document.
pub fn env_value<'a>(document: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let env = document.get("config")?.get("Env")?.as_array()?;
    let values = env.iter().filter_map(Value::as_str).filter_map(|assignment| assignment.split_once('='));
    values.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
}

fn replace(config: &mut Map<String, Value>, key: &str, values: &[String]) {
    if !values.is_empty() {
        config.insert(key.to_owned(), json!(values));
    }
}

/// The object at `key`, made when absent or null.
fn object<'a>(document: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = document.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("made an object just above")
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_keeps_what_it_does_not_name() {
        let base = json!({"architecture": "amd64", "config": {
            "Env": ["PATH=/bin", "LANG=C"], "Cmd": ["python3"], "Healthcheck": {"Test": ["NONE"]}, "Labels": null}});
        let mut document = base.as_object().unwrap().clone();
        let patch = ConfigPatch {
            env: BTreeMap::from([
                ("PATH".to_owned(), "/app:/bin".to_owned()),
                ("PORT".to_owned(), "1".to_owned()),
            ]),
            entrypoint: vec!["/serve".to_owned()],
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            exposed_ports: vec!["3000/tcp".to_owned()],
            ..ConfigPatch::default()
        };
        patch.apply(&mut document);
        let expected = json!({"architecture": "amd64", "config": {
            "Env": ["PATH=/app:/bin", "LANG=C", "PORT=1"], "Healthcheck": {"Test": ["NONE"]}, "Labels": {"a": "b"},
            "Entrypoint": ["/serve"], "ExposedPorts": {"3000/tcp": {}}}});
        assert_eq!(Value::Object(document.clone()), expected);
        assert_eq!(env_value(&document, "PATH"), Some("/app:/bin"));
    }
}
