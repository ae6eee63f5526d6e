//! WebSockets of mounted applications: as upstream's server has them, and what becomes of them when something fails.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::parity::Both;
use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};
use crate::support::sockets::{Seen, SocketClient};

const SERVICE: &str = include_str!("../../testdata/services/sockets/service.py");

/// Far less than any of the limits that a hanging WebSocket would run into.
const PROMPTLY: Duration = Duration::from_secs(5);

fn plan() -> Plan {
    let python = program(Venv::Sdk, "python");
    let plan = Plan::target(Some("service:Chat")).file("service.py", SERVICE);
    plan.arguments(&["--python", python.to_str().expect("a plain path")])
}

fn start() -> Server {
    plan().start_ready()
}

fn run(server: &Server, path: &str, steps: &Value) -> Seen {
    SocketClient::start(server.port(), path, steps).seen()
}

/// Opens a WebSocket at which an application waits; returns when it does.
fn waiting(server: &Server, path: &str) -> SocketClient {
    let steps = json!([["wait", 1], ["say", "open"], ["end"]]);
    let mut client = SocketClient::start(server.port(), path, &steps);
    assert_eq!(client.heard(), "open");
    client
}

/// What both are asked: the path, the steps, and what else the request has.
fn questions() -> Vec<(&'static str, Value, Value)> {
    let none = json!({});
    let end = json!([["end"]]);
    let talk = json!([
        ["text", "grüße"],
        ["wait", 1],
        ["bytes", "00ff"],
        ["wait", 2],
        ["fragments", ["a", "bc", "d"]],
        ["wait", 3],
        ["ping", "there?"],
        ["wait", 4],
        ["close", 4002, "bye"],
        ["end"]
    ]);
    let asked = json!({"subprotocols": ["v2", "v1"], "headers": [["x-token", "t"]]});
    let most = json!([["large", 16 << 20], ["end"]]);
    let too_much = json!([["large", (16 << 20) + 1], ["end"]]);
    let mut questions = vec![
        ("/ws/echo", talk, none.clone()),
        ("/ws/echo", json!([["close", 1000, ""], ["end"]]), none.clone()),
        ("/ws/request/a%20b?x=1&y=%C3%BC", end.clone(), asked),
        ("/ws/request/a", end.clone(), json!({"subprotocols": ["v3"]})),
        ("/ws/size", most, none.clone()),
        ("/ws/size", too_much, none.clone()),
    ];
    for path in
        ["/ws/self", "/ws/close", "/ws/deny", "/ws/policy", "/ws/nothing", "/ws", "/hello", "/livez", "/x"]
    {
        questions.push((path, end.clone(), none.clone()));
    }
    questions
}

#[test]
fn clients_see_what_upstreams_see() {
    let both = Both::serve(SERVICE, "service:Chat");
    for (path, steps, more) in questions() {
        let ask = |port| SocketClient::start_with(port, path, &steps, &more).seen();
        let (ours, theirs) = (ask(both.ekiben.port()), ask(both.upstream_port()));
        println!("{path} {steps}: {ours:?}");
        assert_eq!((ours.status, &ours.body), (theirs.status, &theirs.body), "{path}");
        assert_eq!(
            (&ours.subprotocol, &ours.events),
            (&theirs.subprotocol, &theirs.events),
            "{path} {steps}"
        );
        for name in ["content-type", "x-own", "x-why", "sec-websocket-extensions"] {
            assert_eq!(ours.header(name), theirs.header(name), "{name} of {path}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_a_code() {
    let server = start();
    // A reserved bit, then half of a character.
    assert_eq!(
        run(&server, "/ws/echo", &json!([["raw", "c18000000000"], ["end"]])).close(),
        Some((1002, "protocol error"))
    );
    let half = json!([["raw", "818200000000c328"], ["end"]]);
    assert_eq!(run(&server, "/ws/echo", &half).close(), Some((1007, "invalid UTF-8")));
    // What is not masked is no client's.
    assert_eq!(
        run(&server, "/ws/echo", &json!([["raw", "810141"], ["end"]])).close(),
        Some((1002, "protocol error"))
    );
    assert_eq!(run(&server, "/ws/raise", &json!([["end"]])).status, 500);
    assert_eq!(run(&server, "/ws/return", &json!([["end"]])).status, 500);
    let failed = run(&server, "/ws/raise-later", &json!([["end"]]));
    assert_eq!(failed.events, [json!(["text", "first"]), json!(["close", 1011, ""]), json!(["eof"])]);
    let left = run(&server, "/ws/leave", &json!([["end"]]));
    assert_eq!(left.events, [json!(["text", "first"]), json!(["close", 1000, ""]), json!(["eof"])]);
    let told: Value = server.get("/ws/log").json();
    assert_eq!(told, json!([[1002, "protocol error"], [1007, "invalid UTF-8"], [1002, "protocol error"]]));
    let ended = server.stop(Signal::TERM).succeeded();
    assert!(ended.stdout.contains("ValueError: before") && ended.stdout.contains("ValueError: after"));
}

#[test]
fn a_request_that_is_no_handshake_is_refused() {
    let server = start();
    let asks = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let wrong = server.request("GET", "/ws/echo", &[asks[0], asks[1], ("sec-websocket-version", "8")], b"");
    assert_eq!((wrong.status, wrong.header("sec-websocket-version")), (426, Some("13")));
    let keyless =
        server.request("GET", "/ws/echo", &[asks[0], asks[1], ("sec-websocket-version", "13")], b"");
    assert_eq!(keyless.status, 400);
    // Without the wish it is an ordinary request for a path that only WebSockets have.
    assert_eq!(server.get("/ws/echo").status, 404);
}

#[test]
fn below_a_prefix_they_are_below_the_prefix() {
    let server = plan().env("PREFIX", "/p").start();
    server.wait_for("readiness", || server.get("/p/readyz").status == 200);
    let seen = run(&server, "/p/ws/request/a", &json!([["end"]]));
    let told: Value = serde_json::from_str(seen.events[0][1].as_str().unwrap()).unwrap();
    assert_eq!((told["path"].as_str(), told["room"].as_str()), (Some("/p/ws/request/a"), Some("a")));
    assert_eq!(run(&server, "/ws/request/a", &json!([["end"]])).status, 403);
    assert_eq!(server.post("/p/hello", r#"{"who":"all"}"#).text(), "hello all");
}

#[test]
fn open_ones_take_no_slots_and_are_counted() {
    let server = start();
    let clients: Vec<SocketClient> = (0..5).map(|_| waiting(&server, "/ws/pid")).collect();
    // One thread is all that the service has.
    assert_eq!(server.post("/hello", "{}").text(), "hello you");
    let page = server.get("/metrics").text();
    let open = "bentoml_service_websocket_connections{endpoint=\"/ws\",runner_name=\"Chat\",\
                service_name=\"Chat\",service_version=\"not available\"} 5.0";
    assert!(page.contains(open), "{page}");
    drop(clients);
    server.wait_for("end of the WebSockets", || {
        server.get("/metrics").text().contains(&open.replace("5.0", "0.0"))
    });
}

#[test]
fn a_limit_of_requests_counts_open_ones() {
    let config = json!({"services": {"Chat": {"traffic": {"max_concurrency": 1}}}}).to_string();
    let server = plan().env("BENTOML_CONFIG_OVERRIDES", &config).start_ready();
    let client = waiting(&server, "/ws/pid");
    assert_eq!(server.post("/hello", "{}").status, 429);
    assert_eq!(run(&server, "/ws/echo", &json!([["end"]])).status, 429);
    drop(client);
    server.wait_for("a free place", || server.post("/hello", "{}").status == 200);
}

#[test]
fn a_client_that_does_not_read_stops_its_application_alone() {
    let server = start();
    let mut slow =
        SocketClient::start(server.port(), "/ws/flood", &json!([["say", "open"], ["sleep", 2], ["reset"]]));
    assert_eq!(slow.heard(), "open");
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(server.post("/hello", "{}").status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "calls waited for a client that does not read");
    let _ = slow.seen();
    server.wait_for("end of the application", || server.get("/ws/log").text().contains("flood"));
    let told = server.get("/ws/log").json();
    // A window for each of the sockets on the way, not the ten gigabytes that it has.
    assert!(told[0][1].as_u64().unwrap() < 200, "{told}");
}

#[test]
fn an_application_that_does_not_listen_stops_its_client_alone() {
    let server = start();
    let mut steps = vec![json!(["wait", 1])];
    steps.extend((0..30).map(|_| json!(["large", 1_000_000])));
    steps.push(json!(["end"]));
    let client = SocketClient::start(server.port(), "/ws/deaf?seconds=2", &Value::Array(steps));
    assert_eq!(server.post("/hello", "{}").status, 200);
    let seen = client.seen();
    assert_eq!(seen.events[0], json!(["text", "first"]));
    assert_eq!(server.get("/ws/log").json(), json!([["deaf", true]]));
}

#[test]
fn a_client_that_vanishes_is_told_to_the_application() {
    let server = start();
    for last in ["drop", "reset"] {
        let seen = run(&server, "/ws/echo", &json!([["text", "x"], ["wait", 1], [last]]));
        assert_eq!(seen.events[0], json!(["text", "x"]));
    }
    server.wait_for("the applications' end", || {
        server.get("/ws/log").json() == json!([[1006, ""], [1006, ""]])
    });
}

#[test]
fn when_the_worker_dies_clients_are_told_at_once() {
    let server = start();
    let client = waiting(&server, "/ws/pid");
    let pid =
        run(&server, "/ws/pid", &json!([["wait", 1], ["close", 1000, ""], ["end"]])).events[0][1].clone();
    let pid = pid.as_str().unwrap().parse().unwrap();
    let begun = Instant::now();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(client.seen().close(), Some((1011, "the worker died")));
    assert!(begun.elapsed() < PROMPTLY);
    server.wait_for("another worker", || run(&server, "/ws/self", &json!([["end"]])).status == 101);
}

#[test]
fn a_server_that_ends_closes_them() {
    let server = start();
    let (listening, deaf) = (waiting(&server, "/ws/pid"), waiting(&server, "/ws/deaf?seconds=1"));
    let begun = Instant::now();
    let ended = std::thread::spawn(move || server.stop(Signal::TERM));
    assert_eq!(listening.seen().close(), Some((1012, "")));
    assert_eq!(deaf.seen().close(), Some((1012, "")));
    let ended = ended.join().unwrap().succeeded();
    assert!(begun.elapsed() < PROMPTLY, "{}", ended.stdout);
    assert!(
        ended.stdout.contains(",path=/ws/pid") && ended.stdout.contains("status=101,close=1012"),
        "{}",
        ended.stdout
    );
}
