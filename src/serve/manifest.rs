//! What a worker says about its service: the `service` object of the `describe` message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::batch::json_array::ArrayInput;
use super::batch::policy::Limits;

/// A description that cannot be served.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ManifestError {
    /// A worker that takes no calls.
    #[error("the service `{service}` gives its workers no slots")]
    NoSlots {
        /// The service's name.
        service: String,
    },
    /// A route or prefix that does not begin with `/`.
    #[error("the path `{path}` of the service `{service}` does not begin with `/`")]
    RelativePath {
        /// The service's name.
        service: String,
        /// The path as given.
        path: String,
    },
    /// Two APIs with one name or one route.
    #[error("the service `{service}` has two APIs at `{which}`")]
    Twice {
        /// The service's name.
        service: String,
        /// The name or route both have.
        which: String,
    },
}

/// How a service is written, which decides on a few of its answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// A class with `@bentoml.service`.
    #[default]
    Class,
    /// Functions with `@svc.api` of a `bentoml.Service` with runners.
    Legacy,
}

/// A service: its endpoints, documents and limits, as its author declared them.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceManifest {
    /// The service's name.
    pub name: String,
    /// How the service is written.
    #[serde(default)]
    pub style: Style,
    /// Where the service was imported from.
    pub import_string: String,
    /// The service's docstring.
    #[serde(default)]
    pub description: Option<String>,
    /// What every path except `/schema.json` begins with; empty or `/…`.
    #[serde(default)]
    pub path_prefix: String,
    /// The decorator's keyword arguments, as written.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// How many calls one worker takes at a time.
    pub slots: u32,
    /// The APIs.
    pub endpoints: Vec<Endpoint>,
    /// Tags of the models the service declares.
    #[serde(default)]
    pub models: Vec<String>,
    /// The document at `/schema.json`; a service of functions has none.
    #[serde(default)]
    pub schema: Value,
    /// The document at `/docs.json`.
    #[serde(default)]
    pub openapi: Value,
    /// Whether the worker has metrics of its own.
    #[serde(default)]
    pub user_metrics: bool,
    /// What the service calls, each in workers of its own.
    #[serde(default)]
    pub units: Vec<Unit>,
    /// Whether middlewares stand around everything that clients ask for.
    #[serde(default)]
    pub middlewares: bool,
    /// The service's own program, which answers what the service itself does not.
    #[serde(default)]
    pub command: Option<Command>,
}

/// A program that answers clients.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Command {
    /// The port of this machine that it listens on.
    pub port: u16,
}

/// A runner, or a service that another one depends on.
#[derive(Clone, Debug, Deserialize)]
pub struct Unit {
    /// Which of the two.
    pub kind: UnitKind,
    /// Its name.
    pub name: String,
    /// A service's keyword arguments of the decorator; a runner's options.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// How many calls one worker takes at a time.
    pub slots: u32,
    /// What can be called.
    pub endpoints: Vec<Endpoint>,
    /// The variables of each worker, where a runner has a strategy of its own.
    #[serde(default)]
    pub workers: Option<Vec<BTreeMap<String, String>>>,
    /// What a runner can compute on.
    #[serde(default)]
    pub abilities: Abilities,
}

/// The kinds of units.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// A runner of the older programming model.
    Runner,
    /// A service that another one depends on.
    Service,
}

/// What a runner can compute on (`SUPPORTED_RESOURCES`, `SUPPORTS_CPU_MULTI_THREADING`).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Abilities {
    /// Graphics processors.
    #[serde(default)]
    pub gpu: bool,
    /// Several threads for one call.
    #[serde(default)]
    pub threads: bool,
}

impl Unit {
    /// Returns the name under which workers call it, and by which a worker is told what it is.
    pub fn id(&self) -> String {
        format!("{}:{}", self.kind.word(), self.name)
    }
}

impl Unit {
    /// Returns whether the code gives a limit of a runner's method.
    pub fn declares(&self, method: &str, limit: &str) -> bool {
        let declared = self.config.get("batching").and_then(|methods| methods.get(method)?.get(limit));
        declared.is_some()
    }
}

impl UnitKind {
    /// Returns the kind as names have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Service => "service",
        }
    }
}

/// One API of a service.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Endpoint {
    /// The API's name, which a call names.
    pub name: String,
    /// The path, without the service's prefix.
    pub route: String,
    /// Whether the answer is a stream.
    #[serde(default)]
    pub is_stream: bool,
    /// Whether calls may be submitted as tasks.
    #[serde(default)]
    pub is_task: bool,
    /// The paths below which this answers, of mounted applications; an API has none.
    #[serde(default)]
    pub mounts: Vec<String>,
    /// How calls may be merged; `None` when each is computed alone.
    #[serde(default)]
    pub batch: Option<Batching>,
}

/// How calls of an API may be merged.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Batching {
    /// Most rows of a batch.
    pub max_size: u64,
    /// How long a call may take, from its arrival to the end of its batch, in milliseconds.
    pub max_latency_ms: u64,
    /// What an HTTP request has, if that is one array and nothing else.
    #[serde(default)]
    pub array: Option<ArrayInput>,
}

impl Endpoint {
    /// Whether it is an API, and not what stands for mounted applications and middlewares.
    pub fn is_api(&self) -> bool {
        !self.name.starts_with(':')
    }
}

impl Batching {
    /// Returns the limits.
    pub fn limits(&self) -> Limits {
        Limits { max_rows: self.max_size.max(1), max_latency: Duration::from_millis(self.max_latency_ms) }
    }
}

impl ServiceManifest {
    /// Refuses a description whose paths cannot be routed.
    pub fn validate(&self) -> Result<(), ManifestError> {
        let service = || self.name.clone();
        if self.slots == 0 {
            return Err(ManifestError::NoSlots { service: service() });
        }
        let prefix = Some(&self.path_prefix).filter(|prefix| !prefix.is_empty());
        let routes =
            self.endpoints.iter().flat_map(|endpoint| endpoint.mounts.iter().chain([&endpoint.route]));
        for path in prefix.into_iter().chain(routes) {
            if !path.starts_with('/') {
                return Err(ManifestError::RelativePath { service: service(), path: path.clone() });
            }
        }
        let mut seen = BTreeSet::new();
        // Applications may be mounted where an API is: the API comes first.
        let apis = self.endpoints.iter().filter(|endpoint| endpoint.is_api());
        for which in apis.flat_map(|endpoint| [&endpoint.name, &endpoint.route]) {
            if !seen.insert(which) {
                return Err(ManifestError::Twice { service: service(), which: which.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(slots: u32, prefix: &str, routes: &[&str]) -> ServiceManifest {
        let endpoints: Vec<Value> = routes
            .iter()
            .enumerate()
            .map(|(i, route)| json!({"name": format!("api{i}"), "route": route}))
            .collect();
        serde_json::from_value(json!({
            "name": "S", "import_string": "s:S", "slots": slots, "path_prefix": prefix, "endpoints": endpoints,
            "a member of a later version": true,
        }))
        .unwrap()
    }

    #[test]
    fn what_cannot_be_routed_is_refused() {
        assert_eq!(manifest(1, "", &["/a", "/b"]).validate(), Ok(()));
        let message = |manifest: ServiceManifest| manifest.validate().unwrap_err().to_string();
        assert_eq!(message(manifest(0, "", &[])), "the service `S` gives its workers no slots");
        assert_eq!(message(manifest(1, "x", &[])), "the path `x` of the service `S` does not begin with `/`");
        assert_eq!(
            message(manifest(1, "", &["a"])),
            "the path `a` of the service `S` does not begin with `/`"
        );
        assert_eq!(message(manifest(1, "", &["/a", "/a"])), "the service `S` has two APIs at `/a`");
    }
}
