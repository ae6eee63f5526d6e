//! `ekiben-serve`: HTTP as clients really speak it, and streams.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::io::{BufReader, Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::serve::{Plan, Server, read_reply, request};

const TEXT: &str = "text/plain; charset=utf-8";

fn send(server: &Server, bytes: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset after its answer has still answered.
    let _ = stream.read_to_end(&mut answer);
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let server = Plan::fake("ok").start_ready();
    server.get("/nothing").expect(404, TEXT, "Not Found");
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let reply = server.request(method, "/echo", &[], b"");
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
    }
    server.get("/echo").expect(405, TEXT, "Method Not Allowed");
    let reply = server.post("/readyz", "");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    let reply = server.post("/echo/?a=1", "{}");
    assert_eq!((reply.status, reply.header("location")), (307, Some("/echo?a=1")));
}

#[test]
fn head_has_the_headers_alone() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = BufReader::new(server.connect());
    for (path, length) in [("/schema.json", "75"), ("/livez", "1")] {
        stream.get_mut().write_all(&request("HEAD", path, &[], b"")).unwrap();
        let reply = read_reply(&mut stream, true).unwrap();
        assert_eq!((reply.status, reply.header("content-length")), (200, Some(length)), "{path}");
    }
}

#[test]
fn garbage_is_refused_and_the_next_client_served() {
    let server = Plan::fake("ok").start_ready();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\n broken\r\n\r\n",
    ] {
        let (status, answer) = send(&server, garbage);
        assert_eq!(status, 400, "{:?}", String::from_utf8_lossy(&answer));
    }
    let smuggled =
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(smuggled).unwrap();
    let reply = read_reply(&mut stream, false).unwrap();
    // The chunked body counts, as RFC 9112 has it.
    assert_eq!((reply.status, reply.text()), (200, String::new()));
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn heads_have_a_limit_far_above_what_clients_need() {
    let server = Plan::fake("ok").start_ready();
    let value = "v".repeat(70 * 1024);
    assert_eq!(server.request("POST", "/echo", &[("x-long", &value)], b"{}").status, 200);
    let head = format!("POST /echo HTTP/1.1\r\nhost: a\r\nx-long: {}", "v".repeat(600 * 1024));
    assert_eq!(send(&server, head.as_bytes()).0, 431);
}

#[test]
fn bodies_have_a_limit() {
    let server = Plan::fake("ok").config(&json!({"http": {"max_body_size": 1000}})).start_ready();
    let refusal = r#"{"error":"Request body is larger than 1000 bytes"}"#;
    assert_eq!(server.post("/echo", &"x".repeat(1000)).status, 200);
    server.post("/echo", &"x".repeat(1001)).expect(413, "application/json", refusal);
    // The client reads its answer although it has not sent all it meant to.
    server.post("/echo", &"x".repeat(8 << 20)).expect(413, "application/json", refusal);
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 1001, "x".repeat(1001));
    let chunked = server.request("POST", "/echo", &[("transfer-encoding", "chunked")], chunk.as_bytes());
    chunked.expect(413, "application/json", refusal);
}

#[test]
fn chunked_bodies_are_taken() {
    let server = Plan::fake("ok").start_ready();
    let chunks = b"3\r\n{\"a\r\n4\r\n\": 1\r\n1\r\n}\r\n0\r\n\r\n";
    let reply = server.request("POST", "/echo", &[("transfer-encoding", "chunked")], chunks);
    assert_eq!((reply.status, reply.text()), (200, r#"{"a": 1}"#.to_owned()));
}

#[test]
fn clients_that_expect_to_be_told_to_continue_are() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = BufReader::new(server.connect());
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.get_mut().write_all(b"{}").unwrap();
    assert_eq!(read_reply(&mut stream, false).unwrap().text(), "{}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = BufReader::new(server.connect());
    let requests: Vec<u8> =
        (0..5).flat_map(|i: u8| request("POST", "/echo", &[], i.to_string().as_bytes())).collect();
    stream.get_mut().write_all(&requests).unwrap();
    let bodies: Vec<String> = (0..5).map(|_| read_reply(&mut stream, false).unwrap().text()).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let server = Plan::fake("ok").start_ready();
    let (status, answer) = send(&server, b"POST /stream HTTP/1.0\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(status, 200);
    assert!(
        answer.ends_with(b"\r\n\r\ndata: 0\n\ndata: 1\n\ndata: 2\n\n"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn idle_connections_are_closed_in_time() {
    let server = Plan::fake("ok").arguments(&["--timeout-keep-alive", "1"]).start_ready();
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(&request("POST", "/echo", &[], b"1")).unwrap();
    assert_eq!(read_reply(&mut stream, false).unwrap().text(), "1");
    let begun = Instant::now();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    let idle = begun.elapsed();
    assert!(idle > Duration::from_millis(900) && idle < Duration::from_secs(10), "{idle:?}");
}

#[test]
fn a_client_that_sends_its_head_too_slowly_is_cut() {
    let server = Plan::fake("ok").arguments(&["--timeout-keep-alive", "1"]).start_ready();
    let mut stream = server.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost:").unwrap();
    let mut answer = Vec::new();
    assert!(stream.read_to_end(&mut answer).is_ok());
}

#[test]
fn a_client_that_sends_its_body_too_slowly_gets_504() {
    let server = Plan::fake("ok").config(&json!({"traffic": {"timeout": 0.5}})).start_ready();
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{").unwrap();
    assert_eq!(read_reply(&mut stream, false).unwrap().status, 504);
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn streams_arrive_item_by_item() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(&request("POST", "/stream", &[], b"")).unwrap();
    let reply = read_reply(&mut stream, false).unwrap();
    assert_eq!((reply.status, reply.text()), (200, "data: 0\n\ndata: 1\n\ndata: 2\n\n".to_owned()));
    assert!(reply.is_whole);
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("server"), Some("BentoML Service/Fake"));
    // The connection is kept, and the slot is free again.
    stream.get_mut().write_all(&request("POST", "/echo", &[], b"1")).unwrap();
    assert_eq!(read_reply(&mut stream, false).unwrap().text(), "1");
}

#[test]
fn a_stream_that_fails_aborts_the_connection() {
    let server = Plan::fake("ok").start_ready();
    let reply = server.post("/stream", r#"[2, 0, "ValueError: boom"]"#);
    assert_eq!((reply.status, reply.is_whole), (200, false));
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn a_stream_waits_for_a_slow_client_without_filling_memory() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = BufReader::new(server.connect());
    // 64 MiB, far above what the front buffers.
    stream.get_mut().write_all(&request("POST", "/stream", &[], b"[64, 1048576, null]")).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 48 * 1024, "{resident} kB");
    let reply = read_reply(&mut stream, false).unwrap();
    assert_eq!((reply.body.len(), reply.is_whole), (64 << 20, true));
}

#[test]
fn a_client_that_leaves_cancels_its_call() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = server.connect();
    stream.write_all(&request("POST", "/wait", &[], b"{}")).unwrap();
    server.wait_for("the call", || server.get("/metrics").text().contains("endpoint=\"/wait\",runner_name"));
    drop(stream);
    server.wait_for("the cancel", || server.directory().join("cancelled").exists());
    assert_eq!(server.post("/echo", "{}").status, 200);
    server.wait_for("the log line", || server.log().contains("path=/wait,type=,length=2) (status=499"));
}

#[test]
fn a_client_that_leaves_cancels_its_stream() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = server.connect();
    stream.write_all(&request("POST", "/drip", &[], b"{}")).unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).unwrap();
    drop(stream);
    server.wait_for("the cancel", || server.directory().join("cancelled").exists());
    let text = std::fs::read_to_string(server.directory().join("cancelled")).unwrap();
    assert_eq!(text, "True");
}

#[test]
fn a_late_call_is_cancelled() {
    let server = Plan::fake("ok").config(&json!({"traffic": {"timeout": 0.3}})).start_ready();
    assert_eq!(server.post("/wait", "{}").status, 504);
    server.wait_for("the cancel", || server.directory().join("cancelled").exists());
}
