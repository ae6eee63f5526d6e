//! Custom commands: a program of the service's own answers clients, as behind upstream's server.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::peers::{Venv, program};
use crate::support::serve::{PATIENCE, Plan, Reply, Server, read_reply, request};
use crate::support::service::Service;
use crate::support::web::{free_port, loopback, wait_until_ready};

const SERVICE: &str = include_str!("../../testdata/services/command/service.py");
const SERVER: &str = include_str!("../../testdata/services/command/server.py");

/// Upstream starts an interpreter for every worker, and looks at the health page twice a second.
const STARTED_WITHIN: Duration = Duration::from_mins(2);

/// A request: its method, path, headers and body.
type Question<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

fn plan(name: &str) -> Plan {
    let python = program(Venv::Sdk, "python");
    let plan = Plan::target(Some(&format!("service:{name}"))).file("service.py", SERVICE);
    let plan = plan.file("server.py", SERVER).env("COMMAND_PORT", &free_port().to_string());
    plan.arguments(&["--python", python.to_str().expect("a plain path")])
}

/// The processes of the command: its own, and one that it has started.
fn pids(server: &Server) -> Vec<Pid> {
    let told = server.get("/pids").json();
    let numbers = told.as_array().unwrap().iter();
    numbers.map(|pid| Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap()).unwrap()).collect()
}

/// Whether a process runs; one that has ended and is not waited for does not.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let is_zombie = stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')));
    test_kill_process(pid).is_ok() && !is_zombie
}

fn ask(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&request(method, path, headers, body)).unwrap();
    read_reply(&mut BufReader::new(stream), method == "HEAD").unwrap()
}

/// What is compared: the answer of the command, with its own port left out.
fn told(reply: &Reply, port: &str) -> (u16, Vec<String>, String) {
    let kept = ["content-type", "content-length", "x-answer", "set-cookie"];
    let headers = reply.headers.iter().filter(|(name, _)| kept.contains(&name.as_str()));
    let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value}")).collect();
    headers.sort();
    (reply.status, headers, reply.text().replace(port, "PORT"))
}

#[test]
fn requests_reach_the_command_as_they_do_at_upstream() {
    let (their_command, theirs) = (free_port().to_string(), free_port());
    let context = TestContext::new();
    std::fs::write(context.work().join("service.py"), SERVICE).unwrap();
    std::fs::write(context.work().join("server.py"), SERVER).unwrap();
    let serve = context.bentoml(["serve", "service:Own", "--port"]).arg(theirs.to_string());
    let upstream = Service::start(&serve.env("COMMAND_PORT", &their_command));
    let our_command = free_port().to_string();
    let server = plan("Own").env("COMMAND_PORT", &our_command).start_ready();
    wait_until_ready(loopback(theirs), STARTED_WITHIN);
    let questions: [Question<'_>; 15] = [
        ("GET", "/", &[], ""),
        ("GET", "/anything?a=1&b=2", &[("x-own", "1")], ""),
        ("POST", "/v1/chat", &[("content-type", "application/json")], r#"{"a": "ü"}"#),
        ("PUT", "/v1/chat", &[], "text"),
        ("DELETE", "/v1/chat", &[], ""),
        ("PATCH", "/v1/chat", &[], "x"),
        ("OPTIONS", "/v1/chat", &[], ""),
        ("GET", "/docs.json", &[], ""),
        ("GET", "/health", &[], ""),
        ("GET", "/stream", &[], ""),
        ("GET", "/hello", &[], ""),
        ("POST", "/hello", &[("content-type", "application/json")], "{}"),
        ("GET", "/livez", &[], ""),
        ("GET", "/readyz", &[], ""),
        ("GET", "/hello/", &[], ""),
    ];
    for (method, path, headers, body) in questions {
        // Upstream gives those a type that have none.
        let is_typed = headers.iter().any(|(name, _)| *name == "content-type");
        let typed = [headers, if is_typed { &[] } else { &[("content-type", "text/plain")] }].concat();
        let headers = typed.as_slice();
        let ours = server.request(method, path, headers, body.as_bytes());
        let answer = ask(theirs, method, path, headers, body.as_bytes());
        assert_eq!(told(&ours, &our_command), told(&answer, &their_command), "{method} {path}");
    }
    drop(upstream);
    assert!(server.log().contains("Running service with command: "), "{}", server.log());
}

#[test]
fn bodies_are_passed_on_both_ways_as_they_come() {
    let server = plan("Own").start_ready();
    let begun = Instant::now();
    let mut stream = server.connect();
    stream.write_all(&request("GET", "/stream", &[], b"")).unwrap();
    let mut first = vec![0; 4096];
    let mut read = 0;
    while !String::from_utf8_lossy(&first[..read]).contains("data: 0") {
        read += stream.read(&mut first[read..]).unwrap();
    }
    // The last item comes two pauses later.
    assert!(begun.elapsed() < Duration::from_millis(390), "the first item waited for the last");
    let mut stream = server.connect();
    stream.write_all(&request("POST", "/read", &[("transfer-encoding", "chunked")], b"")).unwrap();
    for _ in 0..3 {
        stream.write_all(b"5\r\npiece\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let told: Value = read_reply(&mut BufReader::new(stream), false).unwrap().json();
    assert_eq!(told["pieces"], 3);
    assert!(told["seconds"].as_f64().unwrap() > 0.3, "the body was kept until its end: {told}");
    // An answer that breaks off breaks off here, too.
    assert!(!server.get("/broken").is_whole);
    assert_eq!(server.get("/anything").status, 202);
    let head = server.request("HEAD", "/x", &[], b"");
    assert_eq!((head.status, head.header("content-type")), (202, Some("application/json")));
}

#[test]
fn what_is_not_meant_for_it_is_not_passed_on() {
    let server = plan("Own").env("PREFIX", "/p").start();
    server.wait_for("readiness", || server.get("/p/readyz").status == 200);
    let told =
        server.request("GET", "/p/v1/a%20b?x=%20", &[("x-hop", "1"), ("connection", "x-hop")], b"").json();
    assert_eq!((told["path"].as_str(), &told["headers"]["x-hop"]), (Some("/v1/a%20b?x=%20"), &Value::Null));
    assert_eq!((server.get("/p/empty").status, server.get("/elsewhere").status), (204, 404));
    let page = server.get("/p/metrics").text();
    assert!(page.contains("endpoint=\"/p/{path}\",http_response_code=\"202\""), "{page}");
    assert_eq!(server.post("/p/hello", "{}").text(), "hello");
}

#[test]
fn the_server_is_ready_when_the_command_is() {
    let server = plan("Own").env("LATE", "1.5").start();
    assert_eq!(server.get("/anything").status, 503);
    assert_eq!(server.get("/readyz").status, 503);
    server.wait_ready();
    assert_eq!(server.get("/anything").json()["method"], "GET");
    assert!(server.log().contains("from the instance"), "{}", server.log());
}

#[test]
fn a_command_that_ends_is_started_again() {
    let server = plan("Plain").start_ready();
    let before = pids(&server);
    assert_eq!(server.get("/exit").json(), "bye");
    server.wait_for("another command", || {
        let reply = server.get("/pids");
        reply.status == 200 && reply.json()[0] != json!(before[0].as_raw_nonzero().get())
    });
    assert!(server.log().contains("the command ended with exit status 7"), "{}", server.log());
    server.wait_for("end of what it had started", || !before.iter().copied().any(runs));
}

#[test]
fn a_worker_that_is_killed_leaves_no_command_behind() {
    let server = plan("Plain").start_ready();
    let before = pids(&server);
    let worker = std::fs::read_to_string(format!("/proc/{}/stat", before[0].as_raw_nonzero())).unwrap();
    let worker = worker.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    server.wait_for("end of the command", || !before.iter().copied().any(runs));
    server.wait_for("another command", || server.get("/pids").status == 200);
}

#[test]
fn a_server_that_ends_lets_the_command_answer_and_ends_all_of_it() {
    let server = plan("Plain").start_ready();
    let before = pids(&server);
    let mut slow = server.connect();
    slow.write_all(&request("GET", "/slow", &[], b"")).unwrap();
    // It takes two.
    std::thread::sleep(Duration::from_secs(1));
    // The program says on its standard error that a connection which was kept is gone.
    let ended = server.stop(Signal::TERM);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let reply = read_reply(&mut BufReader::new(slow), false).unwrap();
    assert_eq!((reply.status, reply.json()), (200, json!("slow")), "{}", ended.stdout);
    let deadline = Instant::now() + PATIENCE;
    while before.iter().copied().any(runs) {
        assert!(Instant::now() < deadline, "{}", ended.stdout);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_command_that_cannot_start_is_named() {
    let stderr = plan("Missing").run().failed(1);
    assert!(stderr.contains("(command)") && stderr.contains("no-such-program"), "{stderr}");
    let stderr = plan("Plain").env("FAIL", "1").run().failed(1);
    assert!(stderr.contains("exited before becoming healthy (exit status 3)"), "{stderr}");
    let stderr = plan("Plain").env("HEALTH", "/elsewhere").env("NOT_FOUND", "1").run().failed(1);
    assert!(stderr.contains("Health endpoint /health not found (404)"), "{stderr}");
}
