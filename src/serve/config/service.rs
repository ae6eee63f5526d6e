//! One service's configuration, complete and checked.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ConfigError;
use super::cors::{self, Cors};
use super::identity_format::IdentityFormat;
use super::reader::{Reader, integer, number, wrong};
use super::ssl::Ssl;
use super::tracing::Tracing;
use crate::serve::worker::memory::Memory;

/// Bounds of the request duration histogram, in seconds (runtime contract 8.2).
const DURATION_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0];

/// Largest request body by default. Upstream has no limit; a body is held in memory as a whole.
const MAX_BODY_SIZE: u64 = 2 << 30;

/// Most buckets an exponential series is given.
const MAX_BUCKETS: usize = 200;

/// Smallest backlog, which is upstream's.
const MIN_BACKLOG: u32 = 65;

/// Below this, compressing an answer takes longer than sending it.
const COMPRESSED_FROM: u32 = 1024;

/// Keys that have maps: anything else there would be overlooked with all that it should have had.
const SECTIONS: &[&str] = &[
    "endpoints",
    "http",
    "http.compression",
    "http.cors",
    "http.response",
    "logging",
    "logging.access",
    "logging.access.format",
    "metrics",
    "metrics.duration",
    "runner_probe",
    "ssl",
    "tracing",
    "tracing.otlp",
    "tracing.otlp.http",
    "traffic",
];

/// Paths that are not written to the access log unless configured.
const SKIPPED_PATHS: &[&str] = &["/metrics", "/healthz", "/livez", "/readyz"];

/// A service's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// How many worker processes.
    pub workers: u32,
    /// How many synchronous calls one worker runs at a time.
    pub threads: u32,
    /// A worker that holds more memory is replaced; `None` is any amount.
    pub worker_memory_limit: Option<Memory>,
    /// Whether the service is ready only when what it calls is.
    pub probes_units: bool,
    /// Connections the kernel keeps for us.
    pub backlog: u32,
    /// When a request is answered with 504.
    pub timeout: Timeout,
    /// How many requests of APIs are taken at a time; more get 429.
    pub max_concurrency: Option<u32>,
    /// The metrics page; `None` when it is off.
    pub metrics: Option<Metrics>,
    /// The access log; `None` when it is off.
    pub access_log: Option<AccessLog>,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on.
    pub port: u16,
    /// Cross-origin requests; `None` when it is off.
    pub cors: Option<Cors>,
    /// TLS; `None` when it is off.
    pub ssl: Option<Ssl>,
    /// Whether answers carry the trace's identity.
    pub has_trace_header: bool,
    /// How the identities of requests and traces are written.
    pub identities: IdentityFormat,
    /// Which requests are traced.
    pub tracing: Tracing,
    /// Which answers are compressed; `None` when none are.
    pub compression: Option<Compression>,
    /// Further paths of the health pages.
    pub endpoints: Endpoints,
    /// Largest request body; more gets 413.
    pub max_body_size: u64,
    /// What the log tells at the start of keys that have no effect.
    pub notes: Vec<&'static str>,
}

/// Further paths of the health pages, below the service's prefix or with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Of `/livez`.
    pub live: Option<String>,
    /// Of `/readyz`.
    pub ready: Option<String>,
}

/// Which answers are compressed for clients that take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The shortest.
    pub min_size: usize,
}

/// A request's time limit, with the number as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// The limit.
    pub limit: Duration,
    /// The number of seconds as the configuration has it: `3` and `3.0` differ in the message.
    pub written: String,
}

/// Upper bounds of a histogram, ascending, without infinity.
pub type Buckets = Vec<f64>;

/// The metrics page.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// What every series begins with.
    pub namespace: String,
    /// Bounds of the duration histogram.
    pub buckets: Buckets,
}

/// What the access log has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct AccessLog {
    /// Whether the request's length is shown.
    pub request_length: bool,
    /// Whether the request's content type is shown.
    pub request_type: bool,
    /// Whether the answer's length is shown.
    pub response_length: bool,
    /// Whether the answer's content type is shown.
    pub response_type: bool,
    /// Paths that are not logged, and those below them.
    pub skip_paths: Vec<String>,
}

impl ServiceConfig {
    /// Reads the merged configuration of a service.
    pub fn new(merged: &Map<String, Value>) -> Result<Self, ConfigError> {
        let root = Reader { values: merged };
        check(&root)?;
        let timeout = Timeout::new(root.find("traffic.timeout"))?;
        Ok(Self {
            workers: workers(&root)?,
            threads: root.count("threads")?.unwrap_or(1),
            worker_memory_limit: root.memory("worker_memory_limit")?,
            probes_units: root.flag("runner_probe.enabled", true)?,
            backlog: backlog(&root)?,
            timeout,
            max_concurrency: root.count("traffic.max_concurrency")?,
            metrics: Metrics::read(&root, "bentoml_service")?,
            access_log: root.flag("logging.access.enabled", true)?.then(|| access_log(&root)).transpose()?,
            host: host(&root)?.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: port(&root)?.unwrap_or(3000),
            cors: root.flag("http.cors.enabled", false)?.then(|| cors::read(&root)).transpose()?,
            ssl: Ssl::read(&root)?,
            has_trace_header: root.flag("http.response.trace_id", false)?,
            identities: IdentityFormat::read(&root)?,
            tracing: Tracing::read(&root)?,
            compression: compression(&root)?,
            endpoints: endpoints(&root)?,
            max_body_size: root.count("http.max_body_size")?.map_or(MAX_BODY_SIZE, u64::from),
            notes: notes(&root),
        })
    }

    /// Reads how the configuration protects the ports of all services, if it does.
    pub fn protection(merged: &Map<String, Value>) -> Result<Option<Ssl>, ConfigError> {
        Ssl::read(&Reader { values: merged })
    }

    /// Reads the address that the configuration gives for all services, if it does.
    pub fn address(merged: &Map<String, Value>) -> Result<(Option<IpAddr>, Option<u16>), ConfigError> {
        let root = Reader { values: merged };
        Ok((host(&root)?, port(&root)?))
    }
}

impl Timeout {
    /// Reads a number of seconds; nothing is 60.
    pub fn new(value: Option<&Value>) -> Result<Self, ConfigError> {
        let Some(value) = value else {
            return Ok(Self { limit: Duration::from_mins(1), written: "60".to_owned() });
        };
        let wrong = || wrong("traffic.timeout", "a positive number of seconds", value);
        let seconds = number(value).filter(|seconds| *seconds > 0.0).ok_or_else(wrong)?;
        let limit = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(Self { limit, written })
    }
}

/// Refuses what would be overlooked, and what upstream acts on and this front cannot.
fn check(root: &Reader<'_>) -> Result<(), ConfigError> {
    for key in SECTIONS {
        if let Some(found) = root.find(key).filter(|value| !value.is_object()) {
            return Err(ConfigError::NotAMap { key: (*key).to_owned(), found: found.to_string() });
        }
    }
    if root.flag("replicate_process", false)? {
        return Err(ConfigError::Unsupported {
            key: "replicate_process",
            reason: "services with a command of their own are not run",
        });
    }
    Ok(())
}

/// What deployments read and servers do not, so that nobody waits for its effect.
fn notes(root: &Reader<'_>) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if root.find("traffic.concurrency").is_some() {
        notes.push("`traffic.concurrency` tells BentoCloud when to scale; here `traffic.max_concurrency` limits requests");
    }
    if root.find("traffic.external_queue") == Some(&Value::Bool(true)) {
        notes.push("`traffic.external_queue` is BentoCloud's: requests wait in the front, and those over `traffic.max_concurrency` are refused");
    }
    notes
}

fn backlog(root: &Reader<'_>) -> Result<u32, ConfigError> {
    let backlog = root.positive("backlog", "a number above 64")?.unwrap_or(2048);
    if backlog < MIN_BACKLOG {
        return Err(wrong("backlog", "a number above 64", &Value::from(backlog)));
    }
    Ok(backlog)
}

fn compression(root: &Reader<'_>) -> Result<Option<Compression>, ConfigError> {
    if !root.flag("http.compression.enabled", false)? {
        return Ok(None);
    }
    let min_size = root.count("http.compression.min_size")?.unwrap_or(COMPRESSED_FROM);
    Ok(Some(Compression { min_size: min_size as usize }))
}

fn endpoints(root: &Reader<'_>) -> Result<Endpoints, ConfigError> {
    let path = |key: &str| {
        let Some(path) = root.text(key)? else { return Ok(None) };
        if !path.starts_with('/') {
            return Err(wrong(key, "a path that begins with `/`", &Value::String(path.to_owned())));
        }
        Ok(Some(path.to_owned()))
    };
    Ok(Endpoints { live: path("endpoints.livez")?, ready: path("endpoints.readyz")? })
}

fn workers(root: &Reader<'_>) -> Result<u32, ConfigError> {
    if root.find("workers").and_then(Value::as_str) == Some("cpu_count") {
        // This counts what the control group and the affinity mask leave us.
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        return Ok(u32::try_from(count).unwrap_or(1));
    }
    root.positive("workers", "a positive number or `cpu_count`").map(|workers| workers.unwrap_or(1))
}

impl Metrics {
    /// Reads the section `metrics`; `None` when it turns them off.
    pub(super) fn read(root: &Reader<'_>, namespace: &str) -> Result<Option<Self>, ConfigError> {
        if !root.flag("metrics.enabled", true)? {
            return Ok(None);
        }
        let namespace = root.text("metrics.namespace")?.unwrap_or(namespace).to_owned();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if namespace.is_empty()
            || !namespace.chars().all(is_name)
            || namespace.starts_with(|c: char| c.is_ascii_digit())
        {
            let value = Value::String(namespace);
            return Err(wrong("metrics.namespace", "a name of letters, digits and `_`", &value));
        }
        Ok(Some(Self { namespace, buckets: buckets(root)? }))
    }
}

fn buckets(root: &Reader<'_>) -> Result<Buckets, ConfigError> {
    let bound = |key: &str| root.find(key).map(|value| (value, number(value)));
    let (min, max, factor) =
        (bound("metrics.duration.min"), bound("metrics.duration.max"), bound("metrics.duration.factor"));
    if let (Some((value, min)), Some((_, max)), Some((_, factor))) = (min, max, factor) {
        let expected = "0 < min < max and factor > 1";
        let fits = |(min, max, factor): &(f64, f64, f64)| *min > 0.0 && min < max && *factor > 1.0;
        let (min, max, factor) = min
            .zip(max)
            .zip(factor)
            .map(|((min, max), factor)| (min, max, factor))
            .filter(fits)
            .ok_or_else(|| wrong("metrics.duration", expected, value))?;
        let series = std::iter::successors(Some(min), |bound| Some(bound * factor));
        return Ok(series.take_while(|bound| *bound < max).take(MAX_BUCKETS).chain([max]).collect());
    }
    let Some(value) = root.find("metrics.duration.buckets") else { return Ok(DURATION_BUCKETS.to_vec()) };
    let bounds: Option<Buckets> = value.as_array().and_then(|items| items.iter().map(number).collect());
    bounds
        .map(|bounds| bounds.into_iter().filter(|bound| bound.is_finite()).collect::<Buckets>())
        .filter(|bounds| bounds.is_sorted_by(|a, b| a < b))
        .ok_or_else(|| wrong("metrics.duration.buckets", "a list of ascending numbers", value))
}

fn access_log(root: &Reader<'_>) -> Result<AccessLog, ConfigError> {
    let shown = |key: &str| root.flag(&format!("logging.access.{key}"), true);
    Ok(AccessLog {
        request_length: shown("request_content_length")?,
        request_type: shown("request_content_type")?,
        response_length: shown("response_content_length")?,
        response_type: shown("response_content_type")?,
        skip_paths: root.texts("logging.access.skip_paths", SKIPPED_PATHS)?,
    })
}

fn host(root: &Reader<'_>) -> Result<Option<IpAddr>, ConfigError> {
    let Some(text) = root.text("http.host")? else { return Ok(None) };
    let wrong = |_| wrong("http.host", "an IP address", &Value::String(text.to_owned()));
    text.parse().map(Some).map_err(wrong)
}

fn port(root: &Reader<'_>) -> Result<Option<u16>, ConfigError> {
    let Some(value) = root.find("http.port") else { return Ok(None) };
    let port = integer(value).and_then(|port| u16::try_from(port).ok());
    port.map(Some).ok_or_else(|| wrong("http.port", "a port number", value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ssl::{Clients, Versions};
    use super::*;

    fn config(value: &Value) -> Result<ServiceConfig, ConfigError> {
        ServiceConfig::new(value.as_object().unwrap())
    }

    #[test]
    fn nothing_given_is_upstreams_defaults() {
        let config = config(&json!({})).unwrap();
        assert_eq!((config.workers, config.threads, config.port), (1, 1, 3000));
        assert_eq!((config.timeout.limit, config.timeout.written.as_str()), (Duration::from_mins(1), "60"));
        assert_eq!(config.host.to_string(), "0.0.0.0");
        assert_eq!(config.metrics.unwrap().namespace, "bentoml_service");
        assert_eq!(config.access_log.unwrap().skip_paths, SKIPPED_PATHS);
        assert_eq!((config.cors, config.max_concurrency), (None, None));
        assert_eq!((config.worker_memory_limit, config.probes_units), (None, true));
    }

    #[test]
    fn values_are_read_in_all_their_spellings() {
        let config = config(&json!({
            "workers": "3", "traffic": {"timeout": 2.0, "max_concurrency": null},
            "metrics": {"duration": {"min": 1, "max": 10, "factor": 4}},
            "logging": {"access": {"enabled": false}}, "http": {"port": "8080", "host": "::1"},
            "worker_memory_limit": "2Gi", "runner_probe": {"enabled": false},
        }))
        .unwrap();
        assert_eq!((config.workers, config.port, config.access_log), (3, 8080, None));
        assert_eq!(config.timeout.written, "2.0");
        assert_eq!((config.worker_memory_limit, config.probes_units), (Some(Memory(2 << 30)), false));
        assert_eq!(config.metrics.unwrap().buckets, [1.0, 4.0, 10.0]);
        assert!(
            super::ServiceConfig::new(json!({"workers": "cpu_count"}).as_object().unwrap()).unwrap().workers
                > 0
        );
    }

    #[test]
    fn wrong_values_are_named() {
        let message = |value: Value| config(&value).unwrap_err().to_string();
        assert_eq!(
            message(json!({"workers": 0})),
            "invalid configuration: `workers` must be a positive number or `cpu_count`, but is `0`"
        );
        assert_eq!(
            message(json!({"traffic": {"timeout": -1}})),
            "invalid configuration: `traffic.timeout` must be a positive number of seconds, but is `-1`"
        );
        assert_eq!(
            message(json!({"http": {"host": "example"}})),
            "invalid configuration: `http.host` must be an IP address, but is `\"example\"`"
        );
        assert_eq!(
            message(json!({"http": {"port": 70000}})),
            "invalid configuration: `http.port` must be a port number, but is `70000`"
        );
        assert!(message(json!({"metrics": {"duration": {"buckets": [2, 1]}}})).contains("ascending"));
        assert!(message(json!({"http": {"cors": {"enabled": true}}})).contains("allow_origins"));
        let found = message(json!({"http": "0.0.0.0"}));
        assert_eq!(found, "invalid configuration: `http` must be a map, but is `\"0.0.0.0\"`");
        let found = message(json!({"backlog": 64}));
        assert_eq!(found, "invalid configuration: `backlog` must be a number above 64, but is `64`");
        let found = message(json!({"endpoints": {"livez": "alive"}}));
        assert!(found.contains("`endpoints.livez` must be a path that begins with `/`"), "{found}");
        let found = message(json!({"worker_memory_limit": "much"}));
        assert!(found.contains("must be an amount of memory such as `2Gi`, but is `\"much\"`"), "{found}");
        let found = message(json!({"replicate_process": true}));
        assert!(found.starts_with("`replicate_process` is not supported as configured: "), "{found}");
        let found = message(json!({"logging": {"access": {"format": {"trace_id": "%x"}}}}));
        assert!(found.contains("must be a number format such as `032x`, but is `\"%x\"`"), "{found}");
        let regex = json!({"enabled": true, "access_control_allow_origin_regex": "(?=a)"});
        assert!(message(json!({"http": {"cors": regex}})).contains("is no regular expression"));
    }

    #[test]
    fn keys_of_other_places_are_told_of() {
        assert_eq!(config(&json!({"traffic": {"max_concurrency": 3}})).unwrap().notes, [""; 0]);
        let notes = config(&json!({"traffic": {"concurrency": 3, "external_queue": true}})).unwrap().notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn tls_is_read_as_python_has_it() {
        let ssl = |value: Value| config(&json!({ "ssl": value })).map(|config| config.ssl);
        assert_eq!(ssl(json!({"enabled": false, "certfile": "c"})).unwrap(), None);
        let all =
            json!({"enabled": true, "certfile": "c", "version": 17, "cert_reqs": 0, "ciphers": "TLSv1"});
        let found = ssl(all).unwrap().unwrap();
        assert_eq!((found.key, found.ciphers), (std::path::PathBuf::from("c"), None));
        let some = json!({"enabled": true, "certfile": "c", "keyfile": "k", "keyfile_password": 1234, "version": 5,
            "cert_reqs": "2", "ca_certs": "a", "ciphers": "X:Y"});
        let found = ssl(some).unwrap().unwrap();
        assert_eq!((found.versions, found.clients), (Versions::OnlyTls12, Clients::VerifiedOnly));
        assert_eq!((found.key_password.unwrap().reveal(), found.ciphers.unwrap().len()), ("1234", 2));
        let message = |value: Value| ssl(value).unwrap_err().to_string();
        assert!(message(json!({"enabled": true})).contains("`ssl.certfile` must be set"));
        assert!(
            message(json!({"enabled": true, "certfile": "c", "cert_reqs": 2})).contains("`ssl.ca_certs`")
        );
        assert!(message(json!({"enabled": true, "certfile": "c", "version": 3})).contains("broken"));
        let secret = message(json!({"enabled": true, "certfile": "c", "keyfile_password": ["geheim"]}));
        assert!(!secret.contains("geheim"), "{secret}");
    }
}
