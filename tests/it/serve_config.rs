//! `ekiben-serve`: every key of the configuration has its effect, or is refused with its reason.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::io::Read;

use serde_json::{Value, json};

use crate::support::serve::{Plan, Reply};

const TEXT: &str = "text/plain; charset=utf-8";

#[test]
fn identities_are_written_as_configured() {
    let format = json!({"trace_id": "#x", "span_id": "d"});
    let config = json!({"logging": {"access": {"format": format}}, "http": {"response": {"trace_id": true}}});
    let server = Plan::fake("ok").config(&config).start_ready();
    let trace = "0bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let reply = server.request("POST", "/headers", &[("traceparent", &parent)], b"");
    assert_eq!(reply.header("x-bentoml-trace-id"), Some("0xbf92f3577b34da6a3ce929d0e0e4736"));
    let shown = reply.header("x-bentoml-request-id").unwrap();
    // Workers are told the identity itself, in 16 digits.
    let told = reply.json()["request_id"].as_str().map(|id| u64::from_str_radix(id, 16).unwrap()).unwrap();
    assert_eq!(shown, told.to_string());
    let logged = format!("(trace=0xbf92f3577b34da6a3ce929d0e0e4736,span={shown},sampled=1,");
    server.wait_for("log line", || server.log().contains(&logged));
}

#[test]
fn health_pages_have_further_paths() {
    let endpoints = json!({"endpoints": {"livez": "/p/alive", "readyz": "/ready"}});
    let server = Plan::fake("ok").env("FAKE_PREFIX", "/p").config(&endpoints).start();
    server.wait_for("readiness", || server.get("/ready").status == 200);
    server.get("/p/alive").expect(200, TEXT, "\n");
    server.get("/p/readyz").expect(200, TEXT, "\n");
    assert_eq!(server.get("/nothing").status, 404);
    server.wait_for("log line", || server.log().contains("path=/nothing"));
    for path in ["/ready", "/p/alive", "/p/readyz"] {
        assert!(!server.log().contains(&format!("path={path},")), "{}", server.log());
    }
}

#[test]
fn paths_are_left_out_of_the_log_as_configured() {
    let server =
        Plan::fake("ok").config(&json!({"logging": {"access": {"skip_paths": ["/echo"]}}})).start_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    assert_eq!(server.post("/headers", "{}").status, 200);
    server.wait_for("log line", || server.log().contains("path=/headers"));
    let log = server.log();
    assert!(!log.contains("path=/echo") && log.contains("path=/readyz"), "{log}");
}

#[test]
fn origins_may_be_a_pattern() {
    let cors = json!({"enabled": true, "access_control_allow_origin_regex": r"https://[a-z]+\.example"});
    let server = Plan::fake("ok").config(&json!({"http": {"cors": cors}})).start_ready();
    let allowed = |origin: &str| {
        let reply = server.request("POST", "/echo", &[("origin", origin)], b"{}");
        reply.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(allowed("https://a.example").as_deref(), Some("https://a.example"));
    assert_eq!(allowed("https://a.example.evil"), None);
}

#[test]
fn options_of_the_environment_win_over_files() {
    let server = Plan::fake("ok")
        .file("c.yaml", "version: 2\nservices:\n  Fake:\n    metrics: {namespace: from_file}\n")
        .env("BENTOML_CONFIG", "c.yaml")
        .env("NAME", "from_options")
        .env(
            "BENTOML_CONFIG_OPTIONS",
            "services.Fake.metrics.namespace=${NAME} services.metrics.duration.buckets=[0.5,20]",
        )
        .start_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    let page = server.get("/metrics").text();
    let series = r#"from_options_request_duration_seconds_bucket{endpoint="/echo",http_response_code="200","#;
    assert_eq!(page.lines().filter(|line| line.starts_with(series)).count(), 3, "{page}");
}

#[test]
fn keys_without_effect_are_told_of() {
    let server = Plan::fake("ok")
        .config(&json!({"traffic": {"concurrency": 8}}))
        .env("BENTOML_CONFIG_OVERRIDES", r#"{"runners": {}, "services": {}}"#)
        .start_ready();
    let log = server.log();
    assert!(log.contains("[INFO] [cli] `traffic.concurrency` tells BentoCloud when to scale"), "{log}");
    assert!(log.contains("[WARNING] [cli] `runners` in the configuration has no effect here"), "{log}");
}

#[test]
fn what_cannot_be_done_is_refused_at_the_start() {
    let refused =
        |config: Value| Plan::fake("ok").config(&config).arguments(&["--port", "0"]).run().failed(1);
    for (config, reason) in [
        (json!({"replicate_process": true}), "`replicate_process` is not supported as configured: "),
        (json!({"http": []}), "invalid configuration: `http` must be a map, but is `[]`"),
        (json!({"backlog": 10}), "invalid configuration: `backlog` must be a number above 64, but is `10`"),
        (
            json!({"tracing": {"exporter_type": "zipkin", "sample_rate": 1.0}}),
            "`tracing.exporter_type` is not supported as configured: ",
        ),
        (json!({"ssl": {"enabled": true}}), "invalid configuration: `ssl.certfile` must be set"),
        (
            json!({"http": {"cors": {"enabled": true, "access_control_allow_origin_regex": "("}}}),
            "invalid configuration: `http.cors.access_control_allow_origin_regex` is no regular expression: ",
        ),
    ] {
        let message = refused(config);
        assert!(message.starts_with(&format!("Error: [serve] `serve` failed: {reason}")), "{message}");
    }
}

fn unpacked(reply: &Reply) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&reply.body[..]).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn long_texts_are_compressed_for_those_who_take_it() {
    let config = json!({"http": {"compression": {"enabled": true, "min_size": 500}}});
    let server = Plan::fake("ok").config(&config).start_ready();
    let body = json!({"a": "b".repeat(5000)}).to_string();
    let gzip = ("accept-encoding", "gzip, deflate");
    let packed = server.request("POST", "/echo", &[gzip], body.as_bytes());
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    assert!(packed.body.len() < 500 && unpacked(&packed) == body);
    let line = format!("(status=200,type=application/json,length={})", packed.body.len());
    server.wait_for("log line", || server.log().contains(&line));
    let plain = server.post("/echo", &body);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
    assert_eq!(plain.text(), body);
    let short = server.request("POST", "/echo", &[gzip], b"{}");
    assert_eq!((short.header("content-encoding"), short.header("vary")), (None, None));
    let stream = server.request("POST", "/stream", &[gzip], b"[3, 4000, null]");
    assert_eq!((stream.header("content-encoding"), stream.body.len(), stream.is_whole), (None, 12_000, true));
}

#[test]
fn nothing_is_compressed_unless_configured() {
    let server = Plan::fake("ok").start_ready();
    let body = "1".repeat(5000);
    let reply = server.request("POST", "/echo", &[("accept-encoding", "gzip")], body.as_bytes());
    assert_eq!((reply.header("content-encoding"), reply.header("vary"), reply.text()), (None, None, body));
}

#[test]
fn the_page_for_people_needs_nobody_else() {
    let server = Plan::fake("ok").env("FAKE_PREFIX", "/größe").start();
    server.wait_for("readiness", || server.get("/gr%C3%B6%C3%9Fe/readyz").status == 200);
    let page = server.get("/gr%C3%B6%C3%9Fe/");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && policy.contains("connect-src 'self'"), "{policy}");
    let text = page.text();
    assert!(text.contains(r#"const prefix = "/gr\u{f6}\u{df}e";"#), "{text}");
    assert!(!text.contains("{{") && !text.contains("src=\"") && !text.contains("//cdn"), "{text}");
}
