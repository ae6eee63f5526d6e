//! `ekiben-serve`: calls, limits, metrics, the log, configuration.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::serve::Plan;

const JSON: &str = "application/json";

#[test]
fn a_call_reaches_the_worker_as_it_was_sent() {
    let server = Plan::fake("ok").start_ready();
    let reply = server.post("/echo", r#"{"a": 1}"#);
    reply.expect(200, JSON, r#"{"a": 1}"#);
    assert_eq!(reply.header("server"), Some("BentoML Service/Fake"));
    let request_id = reply.header("x-bentoml-request-id").unwrap();
    assert!(
        request_id.len() == 16 && request_id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{request_id}"
    );
    let reply = server.request("POST", "/headers?a=1&b=%20", &[("X-Name", "Grün")], b"");
    let arrived = reply.json();
    assert_eq!(arrived["method"], "POST");
    assert_eq!(arrived["path"], "/headers");
    assert_eq!(arrived["query"], "a=1&b=%20");
    assert_eq!(arrived["request_id"], json!(reply.header("x-bentoml-request-id").unwrap()));
    let headers = arrived["headers"].as_array().unwrap();
    // A header's bytes are Latin-1 in messages.
    assert!(headers.contains(&json!(["x-name", "GrÃ¼n"])), "{headers:?}");
    let left = arrived["timeout_ms"].as_u64().unwrap();
    assert!(left > 30_000 && left <= 60_000, "{left}");
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let server = Plan::fake("ok").start_ready();
    let body = "0123456789abcdef".repeat(512 * 1024);
    let reply = server.post("/echo", &body);
    assert_eq!(reply.status, 200);
    assert!(reply.text() == body, "the body has changed");
}

#[test]
fn a_second_call_waits_for_the_only_slot() {
    let server = Plan::fake("ok").start_ready();
    let begun = Instant::now();
    let calls: Vec<_> = (0..3).map(|_| server.post_later("/sleep", "0.2")).collect();
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
}

#[test]
fn slots_and_workers_run_calls_side_by_side() {
    let server = Plan::fake("ok").env("FAKE_SLOTS", "2").config(&json!({"workers": 2})).start_ready();
    server.wait_for("second worker", || server.get("/metrics").text().contains("state=\"ready\"} 2"));
    let calls: Vec<_> = (0..4).map(|_| server.post_later("/sleep", "0.5")).collect();
    server.wait_for("four calls at a time", || {
        let page = server.get("/metrics").text();
        page.lines().any(|line| line.starts_with("ekiben_calls_running") && line.ends_with(" 4"))
    });
    let replies: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.status == 200));
    let pids: std::collections::BTreeSet<u64> =
        replies.iter().map(|reply| reply.json()["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids.len(), 2);
}

#[test]
fn more_than_max_concurrency_is_refused_at_once() {
    let server = Plan::fake("ok").config(&json!({"traffic": {"max_concurrency": 1}})).start_ready();
    let first = server.post_later("/sleep", "1");
    server.wait_for("first call", || {
        let page = server.get("/metrics").text();
        page.lines().any(|line| line.starts_with("ekiben_calls_running") && line.ends_with(" 1"))
    });
    let refused = server.post("/echo", "{}");
    refused.expect(429, JSON, r#"{"error":"Too many requests"}"#);
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(first.join().unwrap().status, 200);
    server.wait_for("free place", || server.post("/echo", "{}").status == 200);
}

#[test]
fn a_late_call_gets_504_and_keeps_its_slot() {
    let server = Plan::fake("ok").config(&json!({"traffic": {"timeout": 0.5}})).start_ready();
    let begun = Instant::now();
    let late = server.post("/sleep", "1.5");
    late.expect(504, JSON, r#"{"error":"Not able to process the request in 0.5 seconds"}"#);
    assert_eq!((late.header("server"), late.header("x-bentoml-request-id")), (None, None));
    // The handler still runs, so that the next call has to wait for it, and is late itself.
    let waiting = server.post("/echo", "{}");
    assert_eq!(waiting.status, 504);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    server.wait_for("end of the handler", || server.post("/echo", "{}").status == 200);
    assert!(begun.elapsed() >= Duration::from_millis(1400), "{:?}", begun.elapsed());
}

#[test]
fn the_command_line_limits_time_over_the_service() {
    let plan = Plan::fake("ok").config(&json!({"traffic": {"timeout": 60}})).arguments(&["--timeout", "1"]);
    let late = plan.start_ready().post("/sleep", "2");
    late.expect(504, JSON, r#"{"error":"Not able to process the request in 1 seconds"}"#);
}

#[test]
fn configuration_comes_from_file_and_overrides() {
    let plan = Plan::fake("ok")
        .file(
            "c.yaml",
            "services:\n  Fake:\n    traffic:\n      timeout: ${LIMIT:-9}\n      max_concurrency: 7\n",
        )
        .env("BENTOML_CONFIG", "c.yaml")
        .env("LIMIT", "0.25")
        .env("BENTOML_CONFIG_OVERRIDES", r#"{"services": {"logging": {"access": {"enabled": false}}}}"#);
    let server = plan.start_ready();
    let late = server.post("/sleep", "0.6");
    late.expect(504, JSON, r#"{"error":"Not able to process the request in 0.25 seconds"}"#);
    let ended = server.stop(rustix::process::Signal::TERM).succeeded();
    assert!(!ended.stdout.contains("scheme=http"), "{}", ended.stdout);
}

#[test]
fn every_call_is_logged_and_probes_are_not() {
    let server = Plan::fake("ok").start_ready();
    let reply = server.post("/echo", r#"{"a": 1}"#);
    assert_eq!(server.get("/nothing").status, 404);
    server.wait_for("log lines", || server.log().contains("status=404"));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("path=/echo")).unwrap();
    let (before, rest) = line.split_once(" [INFO] [entry_service:Fake:1] 127.0.0.1:").unwrap();
    assert_eq!(before.len(), "2026-11-21T22:21:16+0000".len());
    let expected = " (scheme=http,method=POST,path=/echo,type=application/json,length=8) \
                    (status=200,type=application/json,length=8) ";
    assert!(rest.contains(expected), "{line}");
    let span = reply.header("x-bentoml-request-id").unwrap();
    assert!(rest.contains(&format!(",span={span},sampled=0,service.name=Fake)")), "{line}");
    assert!(!log.contains("path=/readyz"), "{log}");
}

#[test]
fn metrics_have_upstreams_names_and_no_clients_paths() {
    let server = Plan::fake("ok").start_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    for path in ["/a", "/b", "/c"] {
        assert_eq!(server.get(path).status, 404);
    }
    let reply = server.get("/metrics");
    assert_eq!(reply.header("content-type"), Some("text/plain; version=1.0.0; charset=utf-8"));
    let page = reply.text();
    let names = r#"runner_name="Fake",service_name="Fake",service_version="not available""#;
    for line in [
        format!(r#"bentoml_service_request_total{{endpoint="/echo",http_response_code="200",{names}}} 1.0"#),
        format!(
            r#"bentoml_service_request_total{{endpoint="unmatched",http_response_code="404",{names}}} 3.0"#
        ),
        format!(r#"bentoml_service_request_in_progress{{endpoint="/metrics",{names}}} 1.0"#),
        format!(
            r#"bentoml_service_request_duration_seconds_count{{endpoint="/echo",http_response_code="200",{names}}} 1.0"#
        ),
        "# TYPE bentoml_service_request_duration_seconds histogram".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\nin\n{page}");
    }
    assert!(page.contains("bentoml_service_last_request_timestamp_seconds{pid="), "{page}");
    assert!(!page.contains("endpoint=\"/a\""), "{page}");
}

#[test]
fn metrics_can_be_renamed_and_turned_off() {
    let renamed = json!({"metrics": {"namespace": "mine", "duration": {"buckets": [0.5, 20]}}});
    let server = Plan::fake("ok").config(&renamed).start_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    let page = server.get("/metrics").text();
    assert!(page.contains("mine_request_total{endpoint=\"/echo\""), "{page}");
    let series = r#"mine_request_duration_seconds_bucket{endpoint="/echo",http_response_code="200","#;
    let buckets: Vec<&str> = page.lines().filter(|line| line.starts_with(series)).collect();
    assert_eq!(buckets.len(), 3, "{page}");
    let server = Plan::fake("ok").config(&json!({"metrics": {"enabled": false}})).start_ready();
    assert_eq!(server.get("/metrics").status, 404);
}

#[test]
fn the_users_metrics_of_all_workers_are_merged() {
    let text = "# HELP hits Hits\n# TYPE hits counter\nhits_total 2.0\n# TYPE depth gauge\ndepth 1.0\n";
    let server = Plan::fake("ok").env("FAKE_METRICS", text).config(&json!({"workers": 2})).start_ready();
    server.wait_for("both workers", || server.get("/metrics").text().contains("hits_total 4.0"));
    let page = server.get("/metrics").text();
    assert!(page.contains("depth{pid=\"1\"} 1.0\ndepth{pid=\"2\"} 1.0\n"), "{page}");
}

#[test]
fn pages_are_the_fronts() {
    let server = Plan::fake("ok").start_ready();
    for path in ["/livez", "/healthz", "/readyz"] {
        server.get(path).expect(200, "text/plain; charset=utf-8", "\n");
    }
    let schema = server.get("/schema.json");
    schema.expect(
        200,
        JSON,
        r#"{"name":"Fake","type":"service","routes":[{"name":"echo","route":"/echo"}]}"#,
    );
    server.get("/docs.json").expect(200, JSON, r#"{"openapi":"3.0.2","info":{"title":"Fake"}}"#);
    let index = server.get("/");
    assert_eq!(index.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(index.text().contains("<title>Fake</title>"), "{}", index.text());
    assert!(!index.text().contains("http"), "the page must not need another host");
}

#[test]
fn health_hooks_are_asked() {
    let server = Plan::fake("ok").start_ready();
    let say = |hook: &str, answer: &str| std::fs::write(server.directory().join(hook), answer).unwrap();
    say("ready", "no");
    let text = "text/plain; charset=utf-8";
    let refusal = "Service is not ready because .__is_ready__() returns False.";
    server.get("/readyz").expect(503, text, refusal);
    server.get("/livez").expect(200, text, "\n");
    say("alive", "no");
    assert_eq!(server.get("/livez").status, 503);
    // A hook that does not answer: not ready, but busy and not dead.
    say("ready", "silent");
    server.get("/readyz").expect(503, text, "Service is not ready: no worker answers.");
    say("alive", "silent");
    server.get("/livez").expect(200, text, "\n");
}

#[test]
fn a_prefix_is_before_all_but_the_schema() {
    let server = Plan::fake("ok").env("FAKE_PREFIX", "/p").start();
    server.wait_for("readiness", || server.get("/p/readyz").status == 200);
    assert_eq!(server.post("/p/echo", "{}").status, 200);
    assert_eq!(server.get("/schema.json").status, 200);
    let statuses = ["/readyz", "/p/schema.json", "/echo", "/"].map(|path| server.get(path).status);
    assert_eq!(statuses, [404; 4]);
    assert_eq!(server.get("/p/").status, 200);
}

#[test]
fn other_origins_are_let_in_when_configured() {
    let cors = json!({"http": {"cors": {"enabled": true, "access_control_allow_origins": ["https://a.example"],
        "access_control_allow_methods": ["*"], "access_control_allow_headers": "*"}}});
    let server = Plan::fake("ok").config(&cors).start_ready();
    let origin = ("origin", "https://a.example");
    let asked = server.request("OPTIONS", "/echo", &[origin, ("access-control-request-method", "POST")], b"");
    asked.expect(200, "text/plain; charset=utf-8", "OK");
    assert_eq!(asked.header("access-control-allow-origin"), Some("https://a.example"));
    let sent = server.request("POST", "/echo", &[origin], b"{}");
    assert_eq!(sent.header("access-control-allow-origin"), Some("https://a.example"));
    let other = server.request("POST", "/echo", &[("origin", "https://b.example")], b"{}");
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
}

#[test]
fn traces_are_adopted_and_shown_when_configured() {
    let server = Plan::fake("ok").config(&json!({"http": {"response": {"trace_id": true}}})).start_ready();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let reply = server.request("POST", "/echo", &[("traceparent", &parent)], b"{}");
    assert_eq!(reply.header("x-bentoml-trace-id"), Some(trace));
    server.wait_for("log line", || server.log().contains(&format!("(trace={trace},span=")));
    assert!(server.log().contains(",sampled=1,"), "{}", server.log());
}

#[test]
fn quiet_servers_write_nothing() {
    let server = Plan::fake("ok").arguments(&["--quiet"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = server.arguments(&["--port", &port.to_string()]).spawn();
    let deadline = Instant::now() + crate::support::serve::PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = server.stop(rustix::process::Signal::TERM).succeeded();
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_bento_is_served_with_its_version() {
    let yaml = "name: iris\nversion: v7\nservice: service:Iris\nenvs:\n- {name: FAKE_SLOTS, value: '3'}\n";
    let server = Plan::fake_in("b").file("b/bento.yaml", yaml).file("b/src/service.py", "").start_ready();
    assert!(server.log().contains("from \"iris:v7\""), "{}", server.log());
    assert!(server.get("/metrics").text().contains("service_version=\"v7\""));
    let calls: Vec<_> = (0..3).map(|_| server.post_later("/sleep", "0.5")).collect();
    server.wait_for("the bento's slots", || {
        server
            .get("/metrics")
            .text()
            .lines()
            .any(|line| line.starts_with("ekiben_calls_running") && line.ends_with(" 3"))
    });
    let statuses: Vec<Value> = calls.into_iter().map(|call| json!(call.join().unwrap().status)).collect();
    assert_eq!(statuses, [200, 200, 200]);
}
