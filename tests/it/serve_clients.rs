//! `ekiben-serve`: clients that are slow, silent, broken, or very many.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::json;

use crate::support::serve::{Plan, Reply, Server, read_reply, request};

/// Connections that say nothing.
const IDLE: u64 = 10_000;

/// What a process needs besides its connections.
const SPARE: u64 = 500;

/// How long clients wait after a refusal; it says a second.
const MODESTY: Duration = Duration::from_millis(100);

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_stop_nobody() {
    let limit = getrlimit(Resource::Nofile);
    let enough = IDLE + SPARE;
    if limit.maximum.is_some_and(|most| most < enough) {
        // A machine that does not let one process have so many files cannot try it.
        return;
    }
    if limit.current.is_some_and(|now| now < enough) {
        // For this side; the server does it by itself.
        setrlimit(Resource::Nofile, Rlimit { current: Some(enough), maximum: limit.maximum }).unwrap();
    }
    let server = Plan::fake("ok").arguments(&["--timeout-keep-alive", "120"]).descriptors(1000).start_ready();
    let before = resident(server.pid());
    let mut idle: Vec<TcpStream> = (0..IDLE).map(|_| server.connect()).collect();
    let begun = Instant::now();
    assert_eq!(server.post("/echo", "{}").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let grown = resident(server.pid()) - before;
    assert!(grown < 300 * 1024, "{grown} kB for {IDLE} connections");
    // The last of them are as good as the first.
    for stream in [idle.pop().unwrap(), idle.swap_remove(0)] {
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(&request("POST", "/echo", &[], b"1")).unwrap();
        assert_eq!(read_reply(&mut stream, false).unwrap().text(), "1");
    }
    let begun = Instant::now();
    let _ended = server.stop(Signal::TERM).succeeded();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn workers_keep_the_limit_of_open_files_that_the_server_raises() {
    let server = Plan::fake("ok").descriptors(100).start_ready();
    let idle: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    let pid = server.post("/sleep", "0").json()["pid"].as_u64().unwrap();
    let soft = |pid: u64| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(soft(pid), 100);
    assert!(soft(server.pid().into()) > 300);
    drop(idle);
    assert!(!server.log().contains("cannot take a connection"), "{}", server.log());
}

#[test]
fn a_client_that_closes_its_half_is_one_that_left() {
    let server = Plan::fake("ok").start_ready();
    // The end of what a client sends is all that is seen of one that is gone: its call is cancelled.
    let mut stream = server.connect();
    stream.write_all(&request("POST", "/wait", &[], b"{}")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() && begun.elapsed() < Duration::from_secs(5), "{answer:?}");
    server.wait_for("the cancel", || server.directory().join("cancelled").exists());
    let mut half = server.connect();
    half.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(5), "a body that cannot come is not waited for");
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn a_client_that_sends_byte_by_byte_is_served() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = BufReader::new(server.connect());
    for byte in request("POST", "/echo", &[], br#"{"a": [1, 2, 3]}"#) {
        stream.get_mut().write_all(&[byte]).unwrap();
        stream.get_mut().flush().unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(read_reply(&mut stream, false).unwrap().text(), r#"{"a": [1, 2, 3]}"#);
}

#[test]
fn clients_that_never_finish_their_heads_stop_nobody() {
    let server = Plan::fake("ok").arguments(&["--timeout-keep-alive", "2"]).start_ready();
    let mut slow: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"POST /echo HTTP/1.1\r\nx-a: ").unwrap();
    }
    assert_eq!(server.post("/echo", "{}").status, 200);
    let begun = Instant::now();
    let mut answer = Vec::new();
    let _ = slow[0].read_to_end(&mut answer);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn malformed_bodies_are_the_workers_to_refuse_and_leave_the_connection_usable() {
    let server = Plan::fake("ok").start_ready();
    let mut stream = BufReader::new(server.connect());
    for body in [&b"{\"a\": "[..], b"\xff\xfe\x00", b"[1,]", b"", b"\x00"] {
        stream
            .get_mut()
            .write_all(&request("POST", "/echo", &[("content-type", "application/json")], body))
            .unwrap();
        let reply = read_reply(&mut stream, false).unwrap();
        // The worker in testdata takes bytes as they are: the front must not touch them.
        assert_eq!((reply.status, reply.body.as_slice()), (200, body));
    }
}

#[test]
fn chunks_that_lie_are_refused() {
    let server = Plan::fake("ok").start_ready();
    for chunks in [&b"zz\r\n{}\r\n0\r\n\r\n"[..], b"ffffffffffffffffff\r\n{}", b"2\r\n{}x\r\n0\r\n\r\n"] {
        let reply = server.request("POST", "/echo", &[("transfer-encoding", "chunked")], chunks);
        assert_eq!(reply.status, 400, "{chunks:?}");
    }
    assert_eq!(server.post("/echo", "{}").status, 200);
}

/// Clients that call again and again, each call on a connection of its own.
struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

/// How often each status came, and how long the slowest answer took. 0 is no answer.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<u16, u64>,
    slowest: Duration,
}

impl Load {
    fn start(server: &Server, clients: usize, body: &'static str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let port = server.port();
        let client = |_| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                while !is_over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    // Without a connection there is no call.
                    let Some(stream) = connect(port) else { break };
                    let status = call(stream, body).map_or(0, |reply| reply.status);
                    *tally.statuses.entry(status).or_default() += 1;
                    tally.slowest = tally.slowest.max(begun.elapsed());
                    if status == 503 {
                        std::thread::sleep(MODESTY);
                    }
                }
                tally
            })
        };
        Self { clients: (0..clients).map(client).collect(), is_over }
    }

    fn end(self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        self.clients.into_iter().fold(Tally::default(), |mut all, client| {
            let one = client.join().unwrap();
            for (status, count) in one.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
            all.slowest = all.slowest.max(one.slowest);
            all
        })
    }
}

/// A client whose connection the server has taken.
fn connect(port: u16) -> Option<TcpStream> {
    TcpStream::connect(("127.0.0.1", port)).ok()
}

fn call(mut stream: TcpStream, body: &str) -> Option<Reply> {
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    stream.write_all(&request("POST", "/sleep", &[], body.as_bytes())).ok()?;
    read_reply(&mut BufReader::new(stream), false)
}

#[test]
fn a_server_that_is_told_to_end_under_load_answers_all_it_has_taken() {
    let server = Plan::fake("ok").env("FAKE_SLOTS", "2").config(&json!({"workers": 2})).start_ready();
    let port = server.port();
    let load = Load::start(&server, 8, "0.02");
    server.wait_for("load", || {
        let page = server.get("/metrics").text();
        let done = |line: &str| {
            line.starts_with("bentoml_service_request_total{endpoint=\"/sleep\",http_response_code=\"200\"")
                && line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()) > Some(100.0)
        };
        page.lines().any(done)
    });
    let ended = server.stop(Signal::TERM).succeeded();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let Tally { statuses, .. } = load.end();
    let answered = statuses.get(&200).copied().unwrap_or(0);
    // Nobody gets half an answer, or an error. The kernel may take one more connection while the port is being closed.
    assert!(statuses.keys().all(|status| [0, 200].contains(status)), "{statuses:?}");
    assert!(statuses.get(&0).copied().unwrap_or(0) <= 1, "{statuses:?}");
    let logged =
        ended.stdout.lines().filter(|line| line.contains("path=/sleep") && line.contains("(status=200"));
    assert_eq!(logged.count() as u64, answered);
}

#[test]
fn what_was_sent_before_the_end_is_answered_though_nobody_had_read_it() {
    let server = Plan::fake("ok").start_ready();
    // While the server stands still, the kernel takes connections and what comes through them.
    server.signal(Signal::STOP);
    let clients: Vec<_> = (0..20).map(|_| server.post_later("/sleep", "0.01")).collect();
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in clients {
        assert_eq!(client.join().unwrap().status, 200);
    }
    let _ended = server.wait().succeeded();
}
