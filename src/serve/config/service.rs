//! One service's configuration, complete and checked.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ConfigError;

/// Bounds of the request duration histogram, in seconds (runtime contract 8.2).
const DURATION_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0];

/// Largest request body by default. Upstream has no limit; a body is held in memory as a whole.
const MAX_BODY_SIZE: u64 = 2 << 30;

/// Most buckets an exponential series is given.
const MAX_BUCKETS: usize = 200;

/// Paths that are not written to the access log unless configured.
const SKIPPED_PATHS: &[&str] = &["/metrics", "/healthz", "/livez", "/readyz"];

/// A service's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// How many worker processes.
    pub workers: u32,
    /// How many synchronous calls one worker runs at a time.
    pub threads: u32,
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
    /// Whether answers carry the trace's identity.
    pub has_trace_header: bool,
    /// Largest request body; more gets 413.
    pub max_body_size: u64,
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

/// Which pages of other origins may use the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins; `*` is all.
    pub allow_origins: Vec<String>,
    /// Whether cookies and authorization may be sent.
    pub allow_credentials: bool,
    /// Methods; `*` is all.
    pub allow_methods: Vec<String>,
    /// Request headers; `*` is all.
    pub allow_headers: Vec<String>,
    /// Seconds a preflight's answer may be kept.
    pub max_age: u64,
    /// Response headers that pages may read.
    pub expose_headers: Vec<String>,
}

impl ServiceConfig {
    /// Reads the merged configuration of a service.
    pub fn new(merged: &Map<String, Value>) -> Result<Self, ConfigError> {
        let root = Reader { values: merged };
        let timeout = Timeout::new(root.find("traffic.timeout"))?;
        Ok(Self {
            workers: workers(&root)?,
            threads: root.count("threads")?.unwrap_or(1),
            backlog: root.count("backlog")?.unwrap_or(2048),
            timeout,
            max_concurrency: root.count("traffic.max_concurrency")?,
            metrics: root.flag("metrics.enabled", true)?.then(|| metrics(&root)).transpose()?,
            access_log: root.flag("logging.access.enabled", true)?.then(|| access_log(&root)).transpose()?,
            host: host(&root)?.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: port(&root)?.unwrap_or(3000),
            cors: root.flag("http.cors.enabled", false)?.then(|| cors(&root)).transpose()?,
            has_trace_header: root.flag("http.response.trace_id", false)?,
            max_body_size: root.count("http.max_body_size")?.map_or(MAX_BODY_SIZE, u64::from),
        })
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

fn workers(root: &Reader<'_>) -> Result<u32, ConfigError> {
    if root.find("workers").and_then(Value::as_str) == Some("cpu_count") {
        // This counts what the control group and the affinity mask leave us.
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        return Ok(u32::try_from(count).unwrap_or(1));
    }
    root.positive("workers", "a positive number or `cpu_count`").map(|workers| workers.unwrap_or(1))
}

fn metrics(root: &Reader<'_>) -> Result<Metrics, ConfigError> {
    let namespace = root.text("metrics.namespace")?.unwrap_or("bentoml_service").to_owned();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if namespace.is_empty()
        || !namespace.chars().all(is_name)
        || namespace.starts_with(|c: char| c.is_ascii_digit())
    {
        let value = Value::String(namespace);
        return Err(wrong("metrics.namespace", "a name of letters, digits and `_`", &value));
    }
    Ok(Metrics { namespace, buckets: buckets(root)? })
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

fn cors(root: &Reader<'_>) -> Result<Cors, ConfigError> {
    let key = |name: &str| format!("http.cors.{name}");
    let allow_origins = root.texts(&key("access_control_allow_origins"), &[])?;
    if allow_origins.is_empty() {
        let expected = "set when `http.cors.enabled` is";
        return Err(wrong(&key("access_control_allow_origins"), expected, &Value::Null));
    }
    Ok(Cors {
        allow_origins,
        allow_credentials: root.flag(&key("access_control_allow_credentials"), false)?,
        allow_methods: root.texts(&key("access_control_allow_methods"), &["GET"])?,
        allow_headers: root.texts(&key("access_control_allow_headers"), &[])?,
        max_age: root.count(&key("access_control_max_age"))?.unwrap_or(600).into(),
        expose_headers: root.texts(&key("access_control_expose_headers"), &[])?,
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

/// Finds values by their dotted keys; null is absent.
struct Reader<'a> {
    values: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    fn find(&self, key: &str) -> Option<&'a Value> {
        let mut keys = key.split('.');
        let first = self.values.get(keys.next()?);
        keys.fold(first, |value, key| value.and_then(|value| value.get(key))).filter(|value| !value.is_null())
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.find(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(wrong(key, "true or false", other)),
        }
    }

    fn count(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        self.positive(key, "a positive number")
    }

    fn positive(&self, key: &str, expected: &'static str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        let count = integer(value).and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        count.map(Some).ok_or_else(|| wrong(key, expected, value))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(key, "a text", value))
    }

    /// Reads a list of texts; one text is a list of one.
    fn texts(&self, key: &str, default: &[&str]) -> Result<Vec<String>, ConfigError> {
        let texts = match self.find(key) {
            None => return Ok(default.iter().map(|&text| text.to_owned()).collect()),
            Some(Value::String(text)) => return Ok(vec![text.clone()]),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        let found = || self.find(key).cloned().unwrap_or_default();
        texts.ok_or_else(|| wrong(key, "a list of texts", &found()))
    }
}

/// Numbers may be written as texts, since that is what an expanded variable is.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

fn integer(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn wrong(key: &str, expected: &'static str, found: &Value) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), expected, found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    }

    #[test]
    fn values_are_read_in_all_their_spellings() {
        let config = config(&json!({
            "workers": "3", "traffic": {"timeout": 2.0, "max_concurrency": null},
            "metrics": {"duration": {"min": 1, "max": 10, "factor": 4}},
            "logging": {"access": {"enabled": false}}, "http": {"port": "8080", "host": "::1"},
        }))
        .unwrap();
        assert_eq!((config.workers, config.port, config.access_log), (3, 8080, None));
        assert_eq!(config.timeout.written, "2.0");
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
    }
}
