//! Spans in the protobuf encoding of OTLP (`opentelemetry/proto/trace/v1/trace.proto`).
//!
//! Few kinds of message with few fields: writing them takes less than a generator and its runtime.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use super::Origin;
use super::spans::{Attribute, Span};
use crate::env::Environment;

/// `SPAN_KIND_SERVER`.
const SERVER: u64 = 2;

/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// The attribute that says whose spans these are.
const SERVICE_NAME: &str = "service.name";

/// Writes batches of spans.
pub(super) struct Encoder {
    attributes: Vec<(String, Attribute)>,
    /// Whether the environment says what the service is called.
    is_named: bool,
    scope: Message,
    longest_text: Option<usize>,
}

impl Encoder {
    /// Takes what all batches have; the environment's attributes win, as with OpenTelemetry's own.
    pub(super) fn new(origin: &Origin, environment: &Environment, longest_text: Option<usize>) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut attributes: Vec<(String, Attribute)> = vec![
            (SERVICE_NAME.to_owned(), origin.service.as_str().into()),
            ("process.pid".to_owned(), Attribute::Number(std::process::id().into())),
            ("telemetry.sdk.language".to_owned(), "rust".into()),
            ("telemetry.sdk.name".to_owned(), "ekiben".into()),
            ("telemetry.sdk.version".to_owned(), version.into()),
        ];
        let bento = origin.bento.iter().map(|name| ("service.namespace".to_owned(), name.as_str().into()));
        let release = origin.version.iter().map(|text| ("service.version".to_owned(), text.as_str().into()));
        attributes.extend(bento.chain(release));
        for (name, value) in environment_attributes(environment) {
            attributes.retain(|(known, _)| *known != name);
            attributes.push((name, value));
        }
        let is_named = environment_attributes(environment).iter().any(|(name, _)| name == SERVICE_NAME);
        let mut scope = Message::default();
        scope.text(1, "ekiben");
        scope.text(2, version);
        Self { attributes, is_named, scope, longest_text }
    }

    /// Writes an `ExportTraceServiceRequest`.
    pub(super) fn encode(&self, batch: &[Span]) -> Vec<u8> {
        let units: BTreeSet<Option<&str>> = batch.iter().map(|span| span.unit.as_deref()).collect();
        let mut request = Message::default();
        for unit in units {
            let mut of_scope = Message::default();
            of_scope.message(1, &self.scope);
            for span in batch.iter().filter(|span| span.unit.as_deref() == unit) {
                of_scope.message(2, &self.span(span));
            }
            let mut of_resource = Message::default();
            of_resource.message(1, &self.resource(unit));
            of_resource.message(2, &of_scope);
            request.message(1, &of_resource);
        }
        request.0
    }

    /// Writes who spans are of: a unit has a name of its own, unless the environment gives one to all.
    fn resource(&self, unit: Option<&str>) -> Message {
        let mut resource = Message::default();
        for (name, value) in &self.attributes {
            let own = unit.filter(|_| name == SERVICE_NAME && !self.is_named).map(Attribute::from);
            resource.message(1, &key_value(name, own.as_ref().unwrap_or(value), None));
        }
        resource
    }

    fn span(&self, span: &Span) -> Message {
        let mut message = Message::default();
        message.bytes(1, &identity(&span.trace, 16));
        message.bytes(2, &identity(&span.id, 8));
        if let Some(parent) = span.parent {
            message.bytes(4, &parent.to_be_bytes());
        }
        message.text(5, &span.name);
        message.number(6, SERVER);
        let duration = u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX);
        message.fixed(7, span.started);
        message.fixed(8, span.started.saturating_add(duration));
        for (name, value) in &span.attributes {
            message.message(9, &key_value(name, value, self.longest_text));
        }
        if span.is_error {
            let mut status = Message::default();
            status.number(3, ERROR);
            message.message(15, &status);
        }
        message
    }
}

/// `OTEL_RESOURCE_ATTRIBUTES`, and over it `OTEL_SERVICE_NAME`.
fn environment_attributes(environment: &Environment) -> Vec<(String, Attribute)> {
    let listed = environment.text("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let pairs = listed.split(',').filter_map(|pair| pair.split_once('='));
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let mut attributes: Vec<(String, Attribute)> =
        pairs.map(|(name, value)| (name.trim().to_owned(), decode(value).into())).collect();
    if let Some(name) = environment.text("OTEL_SERVICE_NAME") {
        attributes.push((SERVICE_NAME.to_owned(), name.into()));
    }
    attributes
}

fn key_value(name: &str, value: &Attribute, longest_text: Option<usize>) -> Message {
    let mut any = Message::default();
    match value {
        Attribute::Text(text) => {
            let end = longest_text.and_then(|longest| text.char_indices().nth(longest));
            any.text(1, &text[..end.map_or(text.len(), |(end, _)| end)]);
        }
        Attribute::Number(number) => any.number(3, *number),
    }
    let mut pair = Message::default();
    pair.text(1, name);
    pair.message(2, &any);
    pair
}

/// The bytes of hexadecimal digits; what is too short is filled up in front.
fn identity(digits: &str, length: usize) -> Vec<u8> {
    let number = u128::from_str_radix(digits, 16).unwrap_or_default();
    number.to_be_bytes()[16 - length..].to_vec()
}

/// A message that is being written: fields one after another.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u64, number: u64) {
        self.variable(field << 3);
        self.variable(number);
    }

    fn fixed(&mut self, field: u64, number: u64) {
        self.variable(field << 3 | 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.variable(field << 3 | 2);
        self.variable(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Seven bits a byte, the lowest first; all but the last have the highest bit set.
    fn variable(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        let written = |number| {
            let mut message = Message::default();
            message.number(1, number);
            message.0
        };
        assert_eq!(written(0), [8, 0]);
        assert_eq!(written(127), [8, 127]);
        assert_eq!(written(300), [8, 0xac, 0x02]);
        assert_eq!(written(u64::MAX).len(), 11);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let text = Attribute::Text("größer".to_owned());
        assert_eq!(key_value("a", &text, Some(3)).0, *b"\n\x01a\x12\x06\n\x04gr\xc3\xb6");
        assert_eq!(key_value("a", &"ab".into(), Some(9)).0, *b"\n\x01a\x12\x04\n\x02ab");
    }

    #[test]
    fn the_environment_names_the_service() {
        let environment: Environment =
            [("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,x=b%20c,broken"), ("OTEL_SERVICE_NAME", "d")]
                .into_iter()
                .collect();
        let origin = Origin { service: "Main".to_owned(), bento: None, version: Some("v1".to_owned()) };
        let encoder = Encoder::new(&origin, &environment, None);
        let text = String::from_utf8_lossy(&encoder.resource(None).0).into_owned();
        assert!(text.contains("b c") && text.contains("v1") && !text.contains("Main"), "{text:?}");
        assert_eq!(text.matches("service.name").count(), 1);
    }

    #[test]
    fn units_have_names_of_their_own_unless_the_environment_names_all() {
        let origin = Origin { service: "Main".to_owned(), bento: None, version: None };
        let name = |variables: &[(&str, &str)], unit| {
            let encoder = Encoder::new(&origin, &variables.iter().copied().collect(), None);
            let text = String::from_utf8_lossy(&encoder.resource(unit).0).into_owned();
            ["Main", "Inner", "all"].into_iter().find(|name| text.contains(name))
        };
        assert_eq!(name(&[], None), Some("Main"));
        assert_eq!(name(&[], Some("Inner")), Some("Inner"));
        assert_eq!(name(&[("OTEL_SERVICE_NAME", "all")], Some("Inner")), Some("all"));
    }

    #[test]
    fn identities_are_bytes() {
        assert_eq!(identity("00f067aa0ba902b7", 8), [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert_eq!(identity("4bf92f3577b34da6a3ce929d0e0e4736", 16).len(), 16);
    }
}
