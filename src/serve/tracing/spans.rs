//! One request as tracing tells of it.

use std::sync::Arc;
use std::time::Duration;

/// The span of a request.
#[derive(Clone, Debug)]
pub struct Span {
    /// The unit that it is of; none is the service that clients call.
    pub unit: Option<Arc<str>>,
    /// The trace's identity, 32 hexadecimal digits.
    pub trace: Arc<str>,
    /// The request's identity, 16 hexadecimal digits.
    pub id: Arc<str>,
    /// The client's span, if it sent one.
    pub parent: Option<u64>,
    /// What it is called.
    pub name: String,
    /// Nanoseconds since 1970 at its start.
    pub started: u64,
    /// How long it took.
    pub duration: Duration,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Whether the server is to blame.
    pub is_error: bool,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
