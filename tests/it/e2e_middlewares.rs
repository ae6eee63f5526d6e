//! Middlewares: one project served by ekiben and by upstream, which see and change the same requests and answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::parity::Both;
use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Reply, Server};
use crate::support::sockets::SocketClient;

const SERVICE: &str = include_str!("../../testdata/services/middlewares/service.py");

/// Headers that a client acts on, and those that the middlewares set; the others are the transport's.
const COMPARED: [&str; 8] =
    ["allow", "content-encoding", "content-type", "server", "x-by", "x-own", "x-stopped", "x-watched"];

/// A request: its method, path, header and body.
type Question = (&'static str, &'static str, Option<(&'static str, &'static str)>, &'static str);

const QUESTIONS: [Question; 38] = [
    ("POST", "/hello", None, r#"{"who":"me"}"#),
    ("POST", "/hello", Some(("x-replace", "1")), r#"{"who":"before"}"#),
    ("POST", "/alias/hello", None, "{}"),
    ("POST", "/hello/", None, "{}"),
    ("GET", "/hello", None, ""),
    ("POST", "/hello", Some(("x-stop", "outer")), "{}"),
    ("POST", "/hello", Some(("x-stop", "inner")), "{}"),
    ("POST", "/hello", Some(("x-raise", "outer")), "{}"),
    ("POST", "/hello", Some(("x-raise", "inner")), "{}"),
    ("POST", "/hello", Some(("x-status", "202")), "{}"),
    ("POST", "/hello", None, r#"{"who":1}"#),
    ("POST", "/context", None, "{}"),
    ("POST", "/double", None, r#"{"data":[[1,2]]}"#),
    ("POST", "/merged", None, r#"{"texts":["a","b"]}"#),
    ("POST", "/fail", None, "{}"),
    ("POST", "/count", None, r#"{"to":3}"#),
    ("POST", "/slow", None, "{}"),
    ("POST", "/large", Some(("accept-encoding", "gzip")), r#"{"size":20000}"#),
    ("POST", "/large", Some(("accept-encoding", "gzip")), r#"{"size":20}"#),
    ("POST", "/large", None, r#"{"size":3000000}"#),
    ("GET", "/app/page", None, ""),
    ("GET", "/alias/app/page", None, ""),
    ("HEAD", "/app/page", None, ""),
    ("GET", "/app/fails", None, ""),
    ("GET", "/app/breaks", None, ""),
    ("GET", "/app/nothing", None, ""),
    ("GET", "/app", None, ""),
    ("GET", "/nothing", None, ""),
    ("GET", "/nothing", Some(("x-stop", "inner")), ""),
    ("GET", "/schema.json", Some(("x-stop", "inner")), ""),
    ("GET", "/docs.json", Some(("x-stop", "inner")), ""),
    ("GET", "/metrics", Some(("x-stop", "inner")), ""),
    ("GET", "/", Some(("x-stop", "inner")), ""),
    ("GET", "/schema.json", Some(("x-status", "203")), ""),
    ("POST", "/later/submit", Some(("x-stop", "inner")), r#"{"text":"t"}"#),
    ("GET", "/later/status", None, ""),
    ("GET", "/later/status?task_id=none", None, ""),
    ("GET", "/later/submit", None, ""),
];

/// What is compared of an answer.
fn told(reply: &Reply) -> (u16, BTreeMap<String, Vec<String>>) {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &reply.headers {
        if COMPARED.contains(&name.as_str()) {
            headers.entry(name.clone()).or_default().push(value.clone());
        }
    }
    (reply.status, headers)
}

/// The body; of gzip nothing but that it is there: its bytes are the implementation's.
fn body(reply: &Reply) -> Vec<u8> {
    if reply.header("content-encoding").is_some() { vec![0] } else { reply.body.clone() }
}

fn start() -> Server {
    let python = program(Venv::Sdk, "python");
    let plan = Plan::target(Some("service:Surrounded")).file("service.py", SERVICE);
    plan.arguments(&["--python", python.to_str().expect("a plain path")]).start_ready()
}

#[test]
fn middlewares_see_and_change_what_they_do_at_upstream() {
    let both = Both::serve(SERVICE, "service:Surrounded");
    for (method, path, header, text) in QUESTIONS {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(header);
        let answers = both.ask(method, path, &headers, text.as_bytes());
        println!("{method} {path} {header:?}: {:?}", answers.ours.status);
        let what = format!(
            "{method} {path} {header:?}: {} {}",
            answers.ours.text_lossy(),
            answers.theirs.text_lossy()
        );
        assert_eq!(told(&answers.ours), told(&answers.theirs), "{what}");
        // The documents differ in more than this is about.
        if path != "/schema.json" || header.is_some_and(|(name, _)| name == "x-stop") {
            assert_eq!(body(&answers.ours), body(&answers.theirs), "{what}");
        }
    }
    let none = json!({});
    for path in ["/app/socket", "/nothing", "/hello"] {
        let ask = |port| SocketClient::start_with(port, path, &json!([["end"]]), &none).seen();
        let (ours, theirs) = (ask(both.ekiben.port()), ask(both.upstream_port()));
        assert_eq!((ours.status, &ours.events), (theirs.status, &theirs.events), "{path}");
        assert_eq!(ours.header("x-by"), theirs.header("x-by"), "{path}");
    }
    let stop = json!({"headers": [["x-stop", "inner"]]});
    let ask = |port| SocketClient::start_with(port, "/app/socket", &json!([["end"]]), &stop).seen();
    let (ours, theirs) = (ask(both.ekiben.port()), ask(both.upstream_port()));
    assert_eq!((ours.status, ours.body), (theirs.status, theirs.body));
}

#[test]
fn pages_of_the_front_have_the_headers_of_middlewares_but_health_has_none() {
    let server = start();
    for path in ["/schema.json", "/docs.json", "/", "/metrics"] {
        let page = server.get(path);
        assert_eq!((page.status, page.header("x-watched")), (200, Some("inner")), "{path}");
        assert!(page.body.len() > 500, "{path}");
    }
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!((server.get(path).status, server.get(path).header("x-by")), (200, None), "{path}");
    }
    assert!(server.post("/hello", "{}").header("x-bentoml-request-id").is_some());
    assert_eq!(server.get("/app/page").header("x-bentoml-request-id"), None);
}

#[test]
fn tasks_run_behind_middlewares_and_know_their_identity() {
    let server = start();
    let submitted = server.post("/later/submit", r#"{"text":"t"}"#);
    assert_eq!(submitted.header("x-watched"), Some("inner"));
    let id = submitted.json()["task_id"].as_str().unwrap().to_owned();
    let path = format!("/later/get?task_id={id}");
    server.wait_for("end of the task", || server.get(&path).status == 200);
    let answer: Value = server.get(&path).json();
    assert_eq!(answer, json!({"text": "t", "task_id": id}));
}

#[test]
fn a_client_that_leaves_and_a_deadline_stop_what_is_behind_middlewares() {
    let server = start();
    let late = server.post("/slow", r#"{"seconds":8}"#);
    assert_eq!(late.status, 504);
    // The API is stopped, and its place is free.
    assert_eq!(server.post("/slow", r#"{"seconds":0.01}"#).text(), "done");
}
