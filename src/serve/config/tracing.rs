//! The section `tracing`: which requests are traced, and where their spans go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::RegexSet;
use serde_json::Value;

use super::ConfigError;
use super::reader::{Reader, Secret, number, wrong};

/// How long one export may take by default.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);

/// Which requests are traced, and where their spans go.
#[derive(Clone, Debug, Default)]
pub struct Tracing {
    /// The part of all requests without a parent that is traced, from 0 to 1.
    pub sample_rate: f64,
    /// URLs of requests that are never traced.
    pub excluded_urls: RegexSet,
    /// Where spans go; `None` when they go nowhere.
    pub exporter: Option<Exporter>,
}

/// A collector that speaks OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// The URL as configured; the environment of OpenTelemetry may say it instead.
    pub endpoint: Option<String>,
    /// How requests are compressed.
    pub compression: Encoding,
    /// Headers of the requests; their values may be keys.
    pub headers: BTreeMap<String, Secret>,
    /// The file with the collector's authority, in place of the system's.
    pub authorities: Option<PathBuf>,
    /// How long one export may take.
    pub timeout: Duration,
    /// The longest text of an attribute.
    pub longest_text: Option<usize>,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// As `gzip`.
    Gzip,
    /// As `deflate`, which means the format of zlib.
    Deflate,
}

impl PartialEq for Tracing {
    fn eq(&self, other: &Self) -> bool {
        self.sample_rate.to_bits() == other.sample_rate.to_bits()
            && self.excluded_urls.patterns() == other.excluded_urls.patterns()
            && self.exporter == other.exporter
    }
}

impl Tracing {
    pub(super) fn read(root: &Reader<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            sample_rate: sample_rate(root)?,
            excluded_urls: excluded_urls(root)?,
            exporter: exporter(root)?,
        })
    }
}

fn sample_rate(root: &Reader<'_>) -> Result<f64, ConfigError> {
    let Some(value) = root.find("tracing.sample_rate") else { return Ok(0.0) };
    let rate = number(value).filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| wrong("tracing.sample_rate", "a number from 0 to 1", value))
}

/// Reads a list of patterns, or a text of them with commas between.
fn excluded_urls(root: &Reader<'_>) -> Result<RegexSet, ConfigError> {
    const KEY: &str = "tracing.excluded_urls";
    let texts = root.texts(KEY, &[])?;
    let is_text = root.find(KEY).is_some_and(Value::is_string);
    let patterns: Vec<&str> = if is_text {
        texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty()).collect()
    } else {
        texts.iter().map(String::as_str).collect()
    };
    let broken = |source| ConfigError::Pattern { key: KEY.to_owned(), source: Box::new(source) };
    RegexSet::new(patterns).map_err(broken)
}

fn exporter(root: &Reader<'_>) -> Result<Option<Exporter>, ConfigError> {
    let Some(kind) = root.text("tracing.exporter_type")? else { return Ok(None) };
    match kind.to_ascii_lowercase().as_str() {
        "otlp" => {}
        // Upstream's own tests keep spans in memory: nobody can look at them.
        "in_memory" => return Ok(None),
        "zipkin" | "jaeger" => {
            return Err(ConfigError::Unsupported {
                key: "tracing.exporter_type",
                reason: "Zipkin and Jaeger take OTLP too, by themselves or through a collector; use `otlp`",
            });
        }
        _ => {
            let found = Value::String(kind.to_owned());
            return Err(wrong("tracing.exporter_type", "`otlp`", &found));
        }
    }
    match root.text("tracing.otlp.protocol")? {
        Some(protocol) if protocol.eq_ignore_ascii_case("http") => otlp(root).map(Some),
        Some(protocol) if protocol.eq_ignore_ascii_case("grpc") => Err(ConfigError::Unsupported {
            key: "tracing.otlp.protocol",
            reason: "spans are sent over HTTP; use `http` and the collector's port for it, 4318 in most cases",
        }),
        found => {
            let found = found.map_or(Value::Null, |found| Value::String(found.to_owned()));
            Err(wrong("tracing.otlp.protocol", "`http`", &found))
        }
    }
}

fn otlp(root: &Reader<'_>) -> Result<Exporter, ConfigError> {
    let compression = match root.text("tracing.otlp.compression")? {
        None | Some("none") => Encoding::Identity,
        Some("gzip") => Encoding::Gzip,
        Some("deflate") => Encoding::Deflate,
        Some(other) => {
            let found = Value::String(other.to_owned());
            return Err(wrong("tracing.otlp.compression", "`gzip`, `deflate` or `none`", &found));
        }
    };
    let timeout = root.positive("tracing.timeout", "a positive number of seconds")?;
    Ok(Exporter {
        endpoint: root.text("tracing.otlp.endpoint")?.filter(|text| !text.is_empty()).map(str::to_owned),
        compression,
        headers: headers(root)?,
        authorities: root.path("tracing.otlp.http.certificate_file")?,
        timeout: timeout.map_or(EXPORT_LIMIT, |seconds| Duration::from_secs(seconds.into())),
        longest_text: root.count("tracing.max_tag_value_length")?.map(|length| length as usize),
    })
}

fn headers(root: &Reader<'_>) -> Result<BTreeMap<String, Secret>, ConfigError> {
    const KEY: &str = "tracing.otlp.http.headers";
    let Some(value) = root.find(KEY) else { return Ok(BTreeMap::new()) };
    let not_a_map = || ConfigError::NotAMap { key: KEY.to_owned(), found: "…".to_owned() };
    let members = value.as_object().ok_or_else(not_a_map)?;
    let read = |name: &String| {
        let value = Reader { values: members }.secret_member(KEY, name)?;
        Ok(value.map(|value| (name.clone(), value)))
    };
    members.keys().filter_map(|name| read(name).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tracing(section: &Value) -> Result<Tracing, ConfigError> {
        let values = json!({"tracing": section});
        Tracing::read(&Reader { values: values.as_object().unwrap() })
    }

    #[test]
    fn spans_go_nowhere_unless_told() {
        assert_eq!(tracing(&json!({})).unwrap(), Tracing::default());
        assert_eq!(tracing(&json!({"exporter_type": "in_memory"})).unwrap().exporter, None);
    }

    #[test]
    fn the_whole_section_is_read() {
        let found = tracing(&json!({
            "exporter_type": "OTLP", "sample_rate": "0.5", "timeout": 3, "excluded_urls": "livez, /a$",
            "otlp": {"protocol": "http", "endpoint": "http://c:1/x", "compression": "gzip",
                "http": {"headers": {"api-key": "geheim", "x-n": 5}, "certificate_file": "ca.pem"}},
        }))
        .unwrap();
        assert_eq!(found.excluded_urls.patterns(), ["livez", "/a$"]);
        assert!(!format!("{found:?}").contains("geheim"));
        let exporter = found.exporter.unwrap();
        assert_eq!((exporter.compression, exporter.timeout), (Encoding::Gzip, Duration::from_secs(3)));
        assert_eq!(exporter.headers["api-key"].reveal(), "geheim");
        assert_eq!(exporter.headers["x-n"].reveal(), "5");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let message = |section: Value| tracing(&section).unwrap_err().to_string();
        let start = "invalid configuration: ";
        for kind in ["zipkin", "jaeger"] {
            let found = message(json!({"exporter_type": kind}));
            assert!(found.starts_with("`tracing.exporter_type` is not supported as configured: "), "{found}");
        }
        let found = message(json!({"exporter_type": "otlp", "otlp": {"protocol": "grpc"}}));
        assert!(found.contains("4318"), "{found}");
        let found = message(json!({"exporter_type": "otlp"}));
        assert_eq!(found, format!("{start}`tracing.otlp.protocol` must be `http`, but is `null`"));
        let found = message(json!({"sample_rate": 2}));
        assert_eq!(found, format!("{start}`tracing.sample_rate` must be a number from 0 to 1, but is `2`"));
        let found = message(json!({"excluded_urls": ["("]}));
        assert_eq!(found, format!("{start}`tracing.excluded_urls` is no regular expression"));
        let otlp = json!({"protocol": "http", "http": {"headers": {"api-key": ["geheim"]}}});
        let found = message(json!({"exporter_type": "otlp", "otlp": otlp}));
        assert!(!found.contains("geheim") && found.contains("api-key"), "{found}");
    }
}
