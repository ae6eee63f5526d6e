//! `ekiben-serve`: spans of requests, as a collector gets them.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::fake_server::{Answer, Handler, Received, Server as FakeServer};
use crate::support::peers::{Venv, program};
use crate::support::serve::Plan;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector that keeps what it gets, after as many refusals as it is told.
#[derive(Default)]
struct Collector {
    received: Mutex<Vec<Received>>,
    refusals: Mutex<u32>,
}

impl Handler for Collector {
    fn cut(&self, _head: &Received) -> Option<usize> {
        None
    }

    fn answer(&self, received: Received) -> Option<Answer> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Some(Answer::status(503));
        }
        self.received.lock().unwrap().push(received);
        Some(Answer::status(200))
    }
}

/// A span as it was sent.
#[derive(Clone, Debug, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    nanos: u64,
    status: u64,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
}

impl Collector {
    fn start() -> (Arc<Self>, FakeServer) {
        let collector = Arc::new(Self::default());
        let server = FakeServer::start(Arc::clone(&collector) as Arc<dyn Handler>);
        (collector, server)
    }

    fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().iter().flat_map(|received| spans(&body(received))).collect()
    }
}

fn body(received: &Received) -> Vec<u8> {
    let packed = &received.body[..];
    let mut reader: Box<dyn Read + '_> = match received.header("content-encoding") {
        Some("gzip") => Box::new(flate2::read::GzDecoder::new(packed)),
        Some("deflate") => Box::new(flate2::read::ZlibDecoder::new(packed)),
        _ => Box::new(packed),
    };
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    body
}

/// The fields of a protobuf message: their numbers, and their bytes; numbers are eight bytes, the lowest first.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = number(&mut message);
        let value = match key & 7 {
            0 => number(&mut message).to_le_bytes().to_vec(),
            1 => take(&mut message, 8),
            2 => {
                let length = number(&mut message);
                take(&mut message, length)
            }
            kind => panic!("a field of kind {kind}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

fn number(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let byte = take(message, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

fn take(message: &mut &[u8], length: u64) -> Vec<u8> {
    let (taken, rest) = message.split_at(usize::try_from(length).unwrap());
    *message = rest;
    taken.to_vec()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn little(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn attribute(bytes: &[u8]) -> (String, String) {
    let fields = fields(bytes);
    let value = self::fields(&fields[1].1);
    let (kind, value) = &value[0];
    (text(&fields[0].1), if *kind == 1 { text(value) } else { little(value).to_string() })
}

fn spans(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for (_, of_resource) in fields(request) {
        let parts = fields(&of_resource);
        let resource: BTreeMap<String, String> =
            fields(&parts[0].1).iter().map(|(_, pair)| attribute(pair)).collect();
        for (_, span) in fields(&parts[1].1).into_iter().filter(|(field, _)| *field == 2) {
            spans.push(Span { resource: resource.clone(), ..one_span(&span) });
        }
    }
    spans
}

fn one_span(bytes: &[u8]) -> Span {
    let mut span = Span::default();
    let mut started = 0;
    for (field, value) in fields(bytes) {
        match field {
            1 => span.trace = hex(&value),
            2 => span.id = hex(&value),
            4 => span.parent = hex(&value),
            5 => span.name = text(&value),
            6 => span.kind = little(&value),
            7 => started = little(&value),
            8 => span.nanos = little(&value) - started,
            9 => drop(span.attributes.insert(attribute(&value).0, attribute(&value).1)),
            15 => span.status = little(&fields(&value)[0].1),
            other => panic!("a field {other}"),
        }
    }
    span
}

fn traced(server: &FakeServer, more: &Value) -> Plan {
    let endpoint = format!("http://user:geheim@{}/v1/traces?key=geheim", server.address);
    let mut otlp =
        json!({"protocol": "http", "endpoint": endpoint, "http": {"headers": {"api-key": "geheim"}}});
    let mut tracing = json!({"exporter_type": "otlp", "sample_rate": 1.0});
    for (key, value) in more.as_object().unwrap() {
        let section = if key == "compression" { &mut otlp } else { &mut tracing };
        section[key] = value.clone();
    }
    tracing["otlp"] = otlp;
    Plan::fake("ok").config(&json!({ "tracing": tracing })).env("OTEL_BSP_SCHEDULE_DELAY", "100")
}

#[test]
fn a_request_is_a_span_below_the_clients() {
    let (collector, address) = Collector::start();
    let server = traced(&address, &json!({"excluded_urls": ["readyz$"]})).start_ready();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("traceparent", parent.as_str()), ("user-agent", "test/1")];
    let reply = server.request("POST", "/headers?secret=geheim", &headers, b"");
    let id = reply.header("x-bentoml-request-id").unwrap().to_owned();
    // What the handler traces is below the request.
    let told = reply.json()["headers"].clone();
    assert!(
        told.as_array().unwrap().contains(&json!(["traceparent", format!("00-{TRACE}-{id}-01")])),
        "{told}"
    );
    server.wait_for("the span", || !collector.spans().is_empty());
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "probes are excluded: {spans:?}");
    let span = &spans[0];
    assert_eq!((span.trace.as_str(), span.parent.as_str(), &span.id), (TRACE, PARENT, &id));
    assert_eq!((span.name.as_str(), span.kind, span.status), ("POST /headers", 2, 0));
    assert!(span.nanos > 0 && span.nanos < 30_000_000_000, "{}", span.nanos);
    let expected = [
        ("http.method", "POST"),
        ("http.scheme", "http"),
        ("http.target", "/headers"),
        ("http.route", "/headers"),
        ("http.status_code", "200"),
        ("http.user_agent", "test/1"),
        ("http.flavor", "1.1"),
        ("net.peer.ip", "127.0.0.1"),
        ("ekiben.worker", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(span.attributes.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(span.resource["service.name"], "Fake");
    let received = collector.received.lock().unwrap().clone();
    assert_eq!((received[0].method.as_str(), received[0].path.as_str()), ("POST", "/v1/traces"));
    assert_eq!(received[0].header("content-type"), Some("application/x-protobuf"));
    assert_eq!(received[0].header("api-key"), Some("geheim"));
    assert!(!format!("{spans:?}").contains("geheim"), "queries may have secrets: {spans:?}");
}

#[test]
fn clients_that_do_not_want_their_trace_kept_are_heeded() {
    let (collector, address) = Collector::start();
    let server = traced(&address, &json!({})).start_ready();
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    assert_eq!(server.request("POST", "/echo", &[("traceparent", &unsampled)], b"{}").status, 200);
    assert_eq!(server.post("/die", "").status, 503);
    server.wait_for("the spans", || collector.spans().iter().any(|span| span.name == "POST /die"));
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:?}");
    let failed = spans.iter().find(|span| span.name == "POST /die").unwrap();
    // An error of the server is marked as one.
    assert_eq!((failed.status, failed.attributes["http.status_code"].as_str()), (2, "503"));
    assert_eq!(failed.parent, "");
}

#[test]
fn the_last_spans_are_sent_when_the_server_ends() {
    let (collector, address) = Collector::start();
    let plan = traced(&address, &json!({"compression": "gzip"})).env("OTEL_BSP_SCHEDULE_DELAY", "60000");
    let server = plan.env("OTEL_SERVICE_NAME", "mine").start_ready();
    for _ in 0..700 {
        assert_eq!(server.post("/echo", "{}").status, 200);
    }
    let _ended = server.stop(Signal::TERM).succeeded();
    let spans = collector.spans();
    assert_eq!(spans.iter().filter(|span| span.name == "POST /echo").count(), 700);
    assert!(spans.iter().all(|span| span.resource["service.name"] == "mine"));
    assert_eq!(collector.received.lock().unwrap()[0].header("content-encoding"), Some("gzip"));
}

#[test]
fn a_collector_that_is_away_for_a_moment_loses_nothing() {
    let (collector, address) = Collector::start();
    *collector.refusals.lock().unwrap() = 1;
    let server = traced(&address, &json!({"compression": "deflate"})).start_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    server.wait_for("the span", || collector.spans().iter().any(|span| span.name == "POST /echo"));
    let log = server.stop(Signal::TERM).succeeded().stdout;
    assert!(!log.contains("spans were lost"), "{log}");
}

#[test]
fn a_collector_that_is_not_there_holds_nobody_and_shows_no_secret() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tracing = json!({"exporter_type": "otlp", "sample_rate": 1.0, "otlp": {"protocol": "http",
        "endpoint": format!("http://user:geheim@{unused}/v1/traces?key=geheim")}});
    let plan = Plan::fake("ok").config(&json!({ "tracing": tracing })).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = plan.start_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    let lost = format!("spans were lost: cannot connect to `http://{unused}/v1/traces`: ");
    server.wait_for("the warning", || server.log().contains(&lost));
    let log = server.stop(Signal::TERM).succeeded().stdout;
    assert!(!log.contains("geheim"), "{log}");
}

#[test]
fn nothing_is_traced_unless_configured() {
    let (collector, address) = Collector::start();
    let endpoint = format!("http://{}", address.address);
    let server = Plan::fake("ok").env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).start_ready();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let reply = server.request("POST", "/headers", &[("traceparent", &parent)], b"");
    // Without tracing the client's own context reaches the handler.
    assert!(reply.json()["headers"].as_array().unwrap().contains(&json!(["traceparent", parent])));
    let _ended = server.stop(Signal::TERM).succeeded();
    assert!(collector.received.lock().unwrap().is_empty());
}

const SERVICES: &str = r"
import bentoml


@bentoml.service
class Last:
    @bentoml.api
    def answer(self) -> int:
        return 42


@bentoml.service
class Inner:
    last = bentoml.depends(Last)

    @bentoml.api
    async def ask(self) -> int:
        return await self.last.to_async.answer()


@bentoml.service
class Outer:
    inner = bentoml.depends(Inner)

    @bentoml.api
    def ask(self) -> int:
        return self.inner.to_sync.ask()
";

/// Each call of another unit is a span below the call that makes it.
#[test]
fn calls_between_units_are_spans_below_one_another() {
    let (collector, address) = Collector::start();
    let python = program(Venv::Sdk, "python").to_str().unwrap().to_owned();
    let endpoint = format!("http://{}/v1/traces", address.address);
    let tracing = json!({"exporter_type": "otlp", "sample_rate": 1.0, "excluded_urls": ["readyz$", "metrics$"],
        "otlp": {"protocol": "http", "endpoint": endpoint}});
    let server = Plan::target(Some("service:Outer"))
        .file("service.py", SERVICES)
        .arguments(&["--python", &python])
        .env("BENTOML_CONFIG_OVERRIDES", &json!({"services": {"tracing": tracing}}).to_string())
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start_ready();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let reply = server.request("POST", "/ask", &[("traceparent", parent.as_str())], b"");
    assert_eq!((reply.status, reply.text().as_str()), (200, "42"));
    server.wait_for("three spans", || collector.spans().len() >= 3);
    let spans = collector.spans();
    let span = |service: &str| {
        let found = spans.iter().find(|span| span.resource["service.name"] == service);
        found.unwrap_or_else(|| panic!("no span of {service}: {spans:?}"))
    };
    let (outer, inner, last) = (span("Outer"), span("Inner"), span("Last"));
    assert_eq!(outer.id, reply.header("x-bentoml-request-id").unwrap());
    assert_eq!([&outer.parent, &inner.parent, &last.parent], [PARENT, &outer.id, &inner.id]);
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:?}");
    assert_eq!((inner.name.as_str(), last.name.as_str()), ("service:Inner ask", "service:Last answer"));
    assert_eq!((inner.attributes["ekiben.worker"].as_str(), inner.status), ("1", 0));
    assert!(last.nanos <= inner.nanos && inner.nanos <= outer.nanos, "{spans:?}");
    // Requests that are not kept have none below them.
    let unkept = format!("00-{TRACE}-{PARENT}-00");
    assert_eq!(server.request("POST", "/ask", &[("traceparent", unkept.as_str())], b"").status, 200);
    let _ended = server.stop(Signal::TERM).succeeded();
    assert_eq!(collector.spans().len(), 3);
}
