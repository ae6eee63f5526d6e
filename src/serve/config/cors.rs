//! Which pages of other origins may use the service.

use regex::Regex;
use serde_json::Value;

use super::ConfigError;
use super::reader::{Reader, wrong};

/// Which pages of other origins may use the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins; `*` is all.
    pub allow_origins: Vec<String>,
    /// Further origins.
    pub origin_pattern: Option<OriginPattern>,
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

/// A pattern that whole origins are compared with.
#[derive(Clone, Debug)]
pub struct OriginPattern(Regex);

impl OriginPattern {
    /// Reads a regular expression; those of Python that look around or refer back are not understood.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        Regex::new(&format!(r"\A(?:{pattern})\z")).map(Self)
    }

    /// Tells whether an origin is meant.
    pub fn matches(&self, origin: &str) -> bool {
        self.0.is_match(origin)
    }
}

impl PartialEq for OriginPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for OriginPattern {}

pub(super) fn read(root: &Reader<'_>) -> Result<Cors, ConfigError> {
    let key = |name: &str| format!("http.cors.{name}");
    let allow_origins = root.texts(&key("access_control_allow_origins"), &[])?;
    let origin_pattern = origin_pattern(root, &key("access_control_allow_origin_regex"))?;
    if allow_origins.is_empty() && origin_pattern.is_none() {
        let expected = "set when `http.cors.enabled` is";
        return Err(wrong(&key("access_control_allow_origins"), expected, &Value::Null));
    }
    Ok(Cors {
        allow_origins,
        origin_pattern,
        allow_credentials: root.flag(&key("access_control_allow_credentials"), false)?,
        allow_methods: root.texts(&key("access_control_allow_methods"), &["GET"])?,
        allow_headers: root.texts(&key("access_control_allow_headers"), &[])?,
        max_age: root.count(&key("access_control_max_age"))?.unwrap_or(600).into(),
        expose_headers: root.texts(&key("access_control_expose_headers"), &[])?,
    })
}

fn origin_pattern(root: &Reader<'_>, key: &str) -> Result<Option<OriginPattern>, ConfigError> {
    let Some(text) = root.text(key)? else { return Ok(None) };
    let understood = OriginPattern::new(text).map(Some);
    understood.map_err(|source| ConfigError::Pattern { key: key.to_owned(), source: Box::new(source) })
}
