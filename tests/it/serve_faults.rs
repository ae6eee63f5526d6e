//! `ekiben-serve`: workers that fail, and surroundings that are wrong.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::serve::Plan;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const DIED: &str = r#"{"error":"The worker that ran this request died; it is being started again."}"#;

#[test]
fn a_call_whose_worker_dies_fails_at_once_and_those_that_wait_do_not() {
    let server = Plan::fake("ok").start_ready();
    let dead = server.post_later("/die", "");
    let waiting: Vec<_> = (0..5).map(|_| server.post_later("/echo", "{}")).collect();
    let dead = dead.join().unwrap();
    dead.expect(503, JSON, DIED);
    assert_eq!(dead.header("server"), Some("BentoML Service/Fake"));
    for call in waiting {
        assert_eq!(call.join().unwrap().status, 200);
    }
    let page = server.get("/metrics").text();
    assert!(
        page.lines().any(|line| line.starts_with("ekiben_worker_restarts_total") && line.ends_with(" 1")),
        "{page}"
    );
    server.wait_for("log line", || {
        server.log().contains("[entry_service:Fake:1] the worker died (signal: 9 (SIGKILL))")
    });
}

#[test]
fn only_calls_of_the_dead_worker_fail() {
    let server = Plan::fake("ok").config(&json!({"workers": 2})).start_ready();
    server.wait_for("both workers", || server.get("/metrics").text().contains("state=\"ready\"} 2"));
    let long = server.post_later("/sleep", "1");
    assert_eq!(server.post("/die", "").status, 503);
    assert_eq!(server.post("/echo", "{}").status, 200);
    assert_eq!(long.join().unwrap().status, 200);
    server.wait_for("both workers", || server.get("/metrics").text().contains("state=\"ready\"} 2"));
}

#[test]
fn a_worker_that_breaks_the_protocol_is_replaced() {
    let server = Plan::fake("ok").start_ready();
    server.post("/garbage", "").expect(503, JSON, DIED);
    assert_eq!(server.post("/echo", "{}").status, 200);
    let line = "worker 1 was given up: the worker broke the protocol: cannot use a frame: ";
    server.wait_for("log line", || server.log().contains(line));
}

#[test]
fn a_stream_whose_worker_dies_is_cut() {
    let server = Plan::fake("ok").start_ready();
    let reply = server.post("/half_stream", "");
    assert_eq!((reply.status, reply.text(), reply.is_whole), (200, "first".to_owned(), false));
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn an_answer_that_http_cannot_carry_is_an_error_of_its_call_alone() {
    let server = Plan::fake("ok").start_ready();
    let reply = server.post("/bad_header", "");
    reply.expect(500, JSON, r#"{"error":"An unexpected error has occurred, please check the server log."}"#);
    assert_eq!(reply.header("x-injected"), None);
    server.wait_for("log line", || server.log().contains("the header `x-a` cannot be sent"));
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn an_answer_too_many_is_a_line_in_the_log() {
    let server = Plan::fake("ok").start_ready();
    assert_eq!(server.post("/twice", "").text(), "1");
    assert_eq!(server.post("/echo", "{}").status, 200);
    server.wait_for("warning", || {
        server.log().contains("[WARNING] [entry_service:Fake:1] the worker sent `reply`")
    });
}

#[test]
fn a_server_whose_worker_never_starts_answers_and_ends() {
    for (start, doing) in
        [("hang", "importing the service"), ("initialize_forever", "initializing the service")]
    {
        let server = Plan::fake(start).start();
        server.wait_for(doing, || server.get("/readyz").text() == format!("Service is not ready: {doing}."));
        server.get("/readyz").expect(503, TEXT, &format!("Service is not ready: {doing}."));
        server.get("/livez").expect(200, TEXT, "\n");
        let refused = server.post("/echo", "{}");
        let body = json!({"error": format!("The service is not ready: {doing}"), "workers": {"ready": 0, "total": 1}});
        refused.expect(503, JSON, &body.to_string());
        assert_eq!(refused.header("retry-after"), Some("1"));
        let begun = Instant::now();
        let _ended = server.stop(Signal::TERM).succeeded();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

#[test]
fn an_import_that_fails_ends_the_server_with_its_reason() {
    let ended = Plan::fake("fail").arguments(&["--port", "0"]).run();
    let starts = ended.stdout.matches("Traceback (most recent call last)").count();
    assert_eq!(starts, 3, "{}", ended.stdout);
    let reason =
        "Error: [serve] `serve` failed: the service cannot start (import): No module named 'nothing'\n";
    assert_eq!(ended.failed(1), reason);
}

#[test]
fn a_container_does_not_try_again() {
    let ended = Plan::fake("fail").env("BENTOML_CONTAINERIZED", "true").arguments(&["--port", "0"]).run();
    assert_eq!(ended.stdout.matches("Traceback").count(), 1, "{}", ended.stdout);
    assert!(ended.failed(1).contains("No module named 'nothing'"));
    let two = json!({"workers": 2});
    let ended = Plan::fake("fail_second").config(&two).env("BENTOML_CONTAINERIZED", "true").run();
    assert!(ended.failed(1).contains("the service cannot start (init): no device left"));
}

#[test]
fn a_worker_that_leaves_without_a_word_is_named() {
    let message = Plan::fake("leave").env("BENTOML_CONTAINERIZED", "true").run().failed(1);
    let reason = "worker 1 ended before it was ready (exit status: 3)\n";
    assert_eq!(message, format!("Error: [serve] `serve` failed: {reason}"));
}

#[test]
fn a_worker_of_another_release_is_refused() {
    let message = Plan::fake("other_protocol").env("BENTOML_CONTAINERIZED", "true").run().failed(1);
    assert!(message.contains("the worker speaks protocol 99, this front speaks 2"), "{message}");
}

#[test]
fn a_service_that_cannot_start_again_refuses_calls() {
    let server = Plan::fake("once").start_ready();
    assert_eq!(server.post("/die", "").status, 503);
    server.wait_for("refusal", || {
        server.get("/readyz").text() == "Service is not ready: the workers fail to start."
    });
    let refused = server.post("/echo", "{}");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(server.get("/livez").status, 200);
    std::fs::remove_file(server.directory().join("lived")).unwrap();
    server.wait_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = Plan::fake("ok").arguments(&["--port", &port]).run().failed(1);
    let reason =
        format!("port {port} is already in use on 0.0.0.0; stop what listens there, or choose another");
    assert!(message.starts_with(&format!("Error: [serve] `serve` failed: {reason}")), "{message}");
}

#[test]
fn wrong_settings_are_named() {
    let message = |plan: Plan| plan.run().failed(1);
    let start = "Error: [serve] `serve` failed: ";
    let found = message(Plan::fake("ok").arguments(&["--host", "localhost"]));
    assert_eq!(found, format!("{start}Invalid host IP address: localhost\n"));
    let found = message(Plan::fake("ok").env("PORT", "http"));
    assert_eq!(found, format!("{start}`PORT` must be a port number, but is `http`\n"));
    let found = message(Plan::fake("ok").env("BENTOML_TIMEOUT", "soon"));
    assert_eq!(found, format!("{start}`BENTOML_TIMEOUT` must be a number of seconds, but is `soon`\n"));
    let found = message(Plan::fake("ok").arguments(&["--python", "/nowhere/python"]));
    let reason =
        "cannot run the Python interpreter `/nowhere/python`: No such file or directory (os error 2)";
    assert_eq!(found, format!("{start}{reason}\n"));
    let found = message(Plan::target(None));
    assert_eq!(
        found,
        format!("{start}the directory `.` does not contain a valid bentofile.yaml or service.py\n")
    );
    let found = message(Plan::fake("ok").config(&json!({"workers": "many"})));
    let reason =
        "invalid configuration: `workers` must be a positive number or `cpu_count`, but is `\"many\"`";
    assert_eq!(found, format!("{start}{reason}\n"));
    let mistaken = Plan::fake("ok").arguments(&["--prot", "1"]).run().failed(2);
    assert!(mistaken.contains("--port"), "{mistaken}");
}
